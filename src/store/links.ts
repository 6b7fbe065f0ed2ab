import { and, eq, exists, gt, inArray, isNotNull, isNull, lte, sql } from 'drizzle-orm'
import { alias } from 'drizzle-orm/pg-core'
import type { Database, Queries } from './database.ts'
import { type LinkPurpose, links } from './schema.ts'

/** A one-time link in a mail. */
export type Link = typeof links.$inferSelect

/** A link of an account. */
export type OwnLink = Link & { userId: string }

/** A link that a transaction makes. It ends after `seconds`. */
export type NewLink = Omit<typeof links.$inferInsert, 'id' | 'createdAt' | 'expiresAt' | 'endedAt'> & {
  seconds: number
}

// Links of the other purposes stand side by side.
const replacing: LinkPurpose[] = ['verify', 'reset', 'email']

/** No row has this id. */
const none = '00000000-0000-0000-0000-000000000000'

/** An ended link keeps no hash of a password. */
const ended = { endedAt: sql`now()`, passwordHash: null, passwordScheme: null }

const isLive = and(isNull(links.endedAt), gt(links.expiresAt, sql`now()`))

/**
 * Makes a link. It replaces the older `verify`, `reset` or `email` link of its account. Lock the row of the account first.
 * A link without an account takes the same work. It is a decoy: no token is sent.
 */
export async function createLink(tx: Queries, { seconds, ...link }: NewLink): Promise<Link> {
  if (replacing.includes(link.purpose)) await endLinks(tx, link.userId ?? none, [link.purpose])
  const expiresAt = sql`now() + make_interval(secs => ${seconds})`
  const [created] = await tx
    .insert(links)
    .values({ ...link, expiresAt })
    .returning()
  if (!created) throw new Error('PostgreSQL returned no row for the new link.')
  return created
}

/**
 * Uses a link up, in the transaction of its effect. Of several transactions that use the same link, one succeeds.
 * @returns the link, or undefined if it is not live
 */
export async function useLink(tx: Queries, id: string, purpose: LinkPurpose): Promise<Link | undefined> {
  const [used] = await tx
    .update(links)
    .set(ended)
    .where(and(eq(links.id, id), eq(links.purpose, purpose), isLive))
    .returning()
  return used
}

/** Ends links of an account. */
export async function endLinks(tx: Queries, userId: string, purposes: readonly LinkPurpose[]): Promise<void> {
  await tx
    .update(links)
    .set(ended)
    .where(and(eq(links.userId, userId), inArray(links.purpose, purposes), isNull(links.endedAt)))
}

/** Ends the links of a purpose that an account got after one of them. @returns their ids */
export async function endLinksAfter(tx: Queries, id: string, purpose: LinkPurpose): Promise<string[]> {
  const first = alias(links, 'first')
  const isLater = exists(
    tx
      .select({ one: sql`1` })
      .from(first)
      .where(and(eq(first.id, id), eq(first.userId, links.userId), gt(links.createdAt, first.createdAt))),
  )
  const later = await tx
    .update(links)
    .set(ended)
    .where(and(isLater, eq(links.purpose, purpose), isNull(links.endedAt)))
    .returning({ id: links.id })
  return later.map((link) => link.id)
}

/**
 * Returns whether an e-mail address is reserved: its former owner can still undo a change of address. Look after the
 * statement that takes the address, which may have waited for the change.
 */
export async function isReserved(on: Queries, email: string): Promise<boolean> {
  const [found] = await on
    .select({ id: links.id })
    .from(links)
    .where(and(eq(links.email, email), eq(links.purpose, 'undo'), isLive))
    .limit(1)
  return found !== undefined
}

/** Ends the `register` links of an e-mail address, because it has an account now. */
export async function endRegistrations(tx: Queries, email: string): Promise<void> {
  await tx
    .update(links)
    .set(ended)
    .where(and(eq(links.email, email), eq(links.purpose, 'register'), isNull(links.endedAt)))
}

/** Reads links. Throws AuthError `unavailable` if the database is unavailable. */
export function createLinkStore({ database }: { database: Database }) {
  return {
    /** Returns a link that is live, without using it. Without an id, it takes the same time and finds none. */
    async find(id: string = none, purpose: LinkPurpose): Promise<Link | undefined> {
      const which = and(eq(links.id, id), eq(links.purpose, purpose), isLive)
      const [found] = await database.run((queries) => queries.select().from(links).where(which))
      return found
    },
  }
}

export type LinkStore = ReturnType<typeof createLinkStore>

/** Deletes the hashes of passwords in links that have expired. */
export async function forgetHashes(database: Database): Promise<void> {
  const expired = and(isNotNull(links.passwordHash), lte(links.expiresAt, sql`now()`))
  const { passwordHash, passwordScheme } = ended
  await database.run((queries) => queries.update(links).set({ passwordHash, passwordScheme }).where(expired))
}
