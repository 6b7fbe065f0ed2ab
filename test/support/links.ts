import { sql } from 'drizzle-orm'
import { createLinkTokens } from '../../src/auth/link-token.ts'
import { hash } from '../../src/auth/password-worker.js'
import { toKey } from '../../src/secrets/key.ts'
import { createLink, type Link } from '../../src/store/links.ts'
import { type LinkPurpose, links, type MailParams } from '../../src/store/schema.ts'
import { type Client, disable, enable, otherPassword, password, send, type TestApp } from './app.ts'
import { publicUrl, refreshSecret } from './environment.ts'

/** Returns the token of a link, as the server writes it into the mail. */
export function tokenOf(link: Link, secret = refreshSecret): string {
  const key = toKey(secret, 'HS256')
  const keys = {
    algorithm: 'HS256' as const,
    signingKey: () => key,
    verificationKey: async () => key.verifies,
  }
  return createLinkTokens({ keys, issuer: publicUrl, clock: Date.now }).sign(link)
}

/** Makes a link of an account, or for an account, and returns its token. */
export async function newLink(
  { db }: Pick<TestApp, 'db'>,
  purpose: LinkPurpose,
  { userId, email }: { userId?: string; email: string },
): Promise<string> {
  const waiting = { passwordHash: hash({ password, cost: 4 }), passwordScheme: 1 }
  const values = {
    purpose,
    email,
    ...(purpose === 'register' ? waiting : { userId }),
    requestedAt: new Date(),
    seconds: 1800,
  }
  return tokenOf(await db.database.transaction((tx) => createLink(tx, values)))
}

/** What ends the `verify`, `reset` and `email` links of an account, except for their use and their age. */
export const endingsOfLinks: Record<string, (t: TestApp, as: Client) => PromiseLike<unknown>> = {
  'a change of the password': ({ app }, as) =>
    send(app, 'POST /auth/password', {
      as,
      body: { currentPassword: password, newPassword: otherPassword },
    }).expect(200),
  'logout-all': ({ app }, as) => send(app, 'POST /auth/logout-all', { as }).expect(204),
  'disabling, also after enabling': async (t, client) => {
    await disable(t, client)
    await enable(t, client)
  },
}

export interface QueuedMail {
  template: string
  recipient: string | null
  userId: string | null
  params: MailParams
  link: Link | null
}

/** Returns the mails that are queued for an address, or decoys, the oldest first. */
export async function mailsTo({ db }: Pick<TestApp, 'db'>, email: string | null): Promise<QueuedMail[]> {
  const rows = await db.rows<Omit<QueuedMail, 'link'> & { linkId: string | null }>(
    sql`SELECT template, recipient, user_id AS "userId", params, link_id AS "linkId" FROM outbox
      WHERE recipient IS NOT DISTINCT FROM ${email} ORDER BY created_at, id`,
  )
  const all = await db.database.run((queries) => queries.select().from(links))
  return rows.map(({ linkId, ...mail }) => ({ ...mail, link: all.find(({ id }) => id === linkId) ?? null }))
}

/** Returns the token in the newest mail to an address that has a link of this purpose. */
export async function mailedToken(
  t: Pick<TestApp, 'db'>,
  email: string,
  purpose: LinkPurpose,
): Promise<string> {
  const mail = (await mailsTo(t, email)).findLast(({ link }) => link?.purpose === purpose)
  if (!mail?.link) throw new Error(`no mail with a ${purpose} link to ${email}`)
  return tokenOf(mail.link)
}
