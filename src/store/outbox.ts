import { and, asc, eq, inArray, isNotNull, isNull, lte, sql } from 'drizzle-orm'
import type { Database, Queries } from './database.ts'
import { purgeWhere } from './housekeeping.ts'
import type { Link } from './links.ts'
import { links, type MailParams, outbox } from './schema.ts'

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

/** A mail that a worker holds, until its lease ends. */
export interface HeldMail {
  id: string
  template: string
  /** Null for a decoy. */
  recipient: string | null
  params: MailParams
  createdAt: Date
  /** How often workers took it. Another worker has taken it if this number has changed. */
  tries: number
  link: Link | undefined
  /** The key that signs the link in every copy of the mail. */
  kid: string
  /** Whether it is too late to send it. */
  isOver: boolean
}

/** A mail without a link is given up after a day. */
const withoutLink = sql`now() + interval '24 hours'`

// A worker renews its leases long before they end. The mails of a worker that died are taken over after this time.
const leaseSeconds = 45

const transactionsWithMail = new WeakSet<Queries>()

/** Queues a mail in the transaction that causes it, so that neither exists without the other. */
export async function queueMail(tx: Queries, { link, ...mail }: NewMail): Promise<void> {
  await tx.insert(outbox).values({ ...mail, linkId: link?.id, giveUpAt: link?.expiresAt ?? withoutLink })
  transactionsWithMail.add(tx)
}

/** Lets mails that wait go without their links, because the links have ended and the mails also tell what happened. */
export async function sendWithoutLinks(tx: Queries, linkIds: string[]): Promise<void> {
  await tx
    .update(outbox)
    .set({ linkId: null, giveUpAt: withoutLink })
    .where(and(inArray(outbox.linkId, linkIds), isNull(outbox.doneAt)))
}

/** Returns the same database. It calls `wake` when a transaction that queued a mail has committed. */
export function wakingAfterMail(database: Database, wake: () => void): Database {
  const transaction: Database['transaction'] = async (work) => {
    let last: Queries | undefined
    const result = await database.transaction((tx) => {
      last = tx
      return work(tx)
    })
    if (last && transactionsWithMail.has(last)) wake()
    return result
  }
  // Through the prototype, this database also has what tests replace in the other one.
  return Object.create(database, { transaction: { value: transaction } })
}

/** Deletes mails a day after they were sent or given up. Without a worker they are given up by their time. */
export const purgeOutbox = purgeWhere(
  outbox,
  outbox.id,
  sql`${outbox.doneAt} < now() - interval '24 hours'
    OR (${outbox.doneAt} IS NULL AND ${outbox.giveUpAt} < now() - interval '24 hours')`,
)

/**
 * Gives mails to workers. All functions throw AuthError `unavailable` if the database is unavailable.
 * @param deps.signingKid returns the key that signs links now. It may throw too; then no mail is taken
 */
export function createOutbox({ database, signingKid }: { database: Database; signingKid: () => string }) {
  const lease = sql`now() + make_interval(secs => ${leaseSeconds})`
  const waiting = isNull(outbox.doneAt)

  async function linksOf(ids: string[]) {
    if (ids.length === 0) return []
    const isLive = sql<boolean>`${links.endedAt} IS NULL AND ${links.expiresAt} > now()`
    return database.run((queries) =>
      queries.select({ link: links, isLive }).from(links).where(inArray(links.id, ids)),
    )
  }

  return {
    /**
     * Takes mails that are due, the longest due first. Other workers skip them until the lease ends.
     * @param templates the templates that this server knows; mails of newer servers stay for those
     */
    async take(templates: string[], limit: number): Promise<HeldMail[]> {
      const kid = sql`coalesce(${outbox.kid}, ${signingKid()})`
      const taken = await database.run((queries) => {
        // A common table expression runs once. PostgreSQL may run a subquery again, and lock more rows than the limit.
        const due = queries.$with('due').as(
          queries
            .select({ id: outbox.id })
            .from(outbox)
            .where(and(waiting, lte(outbox.dueAt, sql`now()`), inArray(outbox.template, templates)))
            .orderBy(asc(outbox.dueAt))
            .limit(limit)
            .for('update', { skipLocked: true }),
        )
        return queries
          .with(due)
          .update(outbox)
          .set({ dueAt: lease, tries: sql`${outbox.tries} + 1`, kid })
          .from(due)
          .where(eq(outbox.id, due.id))
          .returning({
            id: outbox.id,
            template: outbox.template,
            recipient: outbox.recipient,
            params: outbox.params,
            createdAt: outbox.createdAt,
            tries: outbox.tries,
            linkId: outbox.linkId,
            kid: sql<string>`${outbox.kid}`,
            isLate: sql<boolean>`${outbox.giveUpAt} <= now()`,
          })
      })
      const found = await linksOf(taken.flatMap(({ linkId }) => linkId ?? []))
      return taken.map(({ linkId, isLate, ...mail }) => {
        const own = found.find(({ link }) => link.id === linkId)
        return { ...mail, link: own?.link, isOver: isLate || (linkId !== null && !own?.isLive) }
      })
    },

    /** Renews the leases of mails. */
    async renew(ids: string[]): Promise<void> {
      const held = and(inArray(outbox.id, ids), waiting)
      await database.run((queries) => queries.update(outbox).set({ dueAt: lease }).where(held))
    },

    /** Marks a mail as sent or given up. @returns whether this call did */
    async close(id: string): Promise<boolean> {
      const closed = await database.run((queries) =>
        queries
          .update(outbox)
          .set({ doneAt: sql`now()` })
          .where(and(eq(outbox.id, id), waiting))
          .returning({ id: outbox.id }),
      )
      return closed.length > 0
    },

    /** Gives a mail back, which is due again after a pause. Does nothing if another worker has taken it. */
    async putBack({ id, tries }: Pick<HeldMail, 'id' | 'tries'>, pauseSeconds: number): Promise<void> {
      const dueAt = sql`now() + make_interval(secs => ${pauseSeconds})`
      const held = and(eq(outbox.id, id), eq(outbox.tries, tries), waiting)
      await database.run((queries) => queries.update(outbox).set({ dueAt }).where(held))
    },

    /** Returns how many mails wait, and the age of the oldest in seconds. Leaves out decoys. */
    async waiting(): Promise<{ count: number; oldestSeconds: number }> {
      const oldest = sql<string>`coalesce(extract(epoch FROM now() - min(${outbox.createdAt})), 0)`
      const [row] = await database.run((queries) =>
        queries
          .select({ count: sql<string>`count(*)`, oldest })
          .from(outbox)
          .where(and(waiting, isNotNull(outbox.recipient))),
      )
      return { count: Number(row?.count), oldestSeconds: Number(row?.oldest) }
    },
  }
}

export type Outbox = ReturnType<typeof createOutbox>
