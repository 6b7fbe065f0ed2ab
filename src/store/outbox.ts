import { sql } from 'drizzle-orm'
import type { Queries } from './database.ts'
import { type MailParams, outbox } from './schema.ts'

/** A mail that a transaction causes. */
export interface NewMail {
  /** The name of a template, see `src/mail/template.ts`. */
  template: string
  /** Undefined for a decoy, which takes the way of a mail up to SMTP. */
  recipient: string | undefined
  /** The account that the mail is about. */
  userId?: string | undefined
  params: MailParams
  /** The link in the mail. The mail is given up when the link ends. */
  link?: { id: string; expiresAt: Date } | undefined
}

/** A mail without a link is given up after a day. */
const withoutLink = sql`now() + interval '24 hours'`

/** Queues a mail in the transaction that causes it, so that neither exists without the other. */
export async function queueMail(tx: Queries, { link, ...mail }: NewMail): Promise<void> {
  await tx.insert(outbox).values({ ...mail, linkId: link?.id, giveUpAt: link?.expiresAt ?? withoutLink })
}
