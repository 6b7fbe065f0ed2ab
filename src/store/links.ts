import { and, eq, gt, inArray, isNull, sql } from 'drizzle-orm'
import type { Queries } from './database.ts'
import { type LinkPurpose, links } from './schema.ts'

/** A one-time link in a mail. */
export type Link = typeof links.$inferSelect

/** A link that a transaction makes. It ends after `seconds`. */
export type NewLink = Omit<typeof links.$inferInsert, 'id' | 'createdAt' | 'expiresAt' | 'endedAt'> & {
  seconds: number
}

// Links of the other purposes stand side by side.
const replacing: LinkPurpose[] = ['verify', 'reset', 'email']

/** The links that a change of a credential, a logout everywhere or the end of an account withdraws. */
const withdrawn: LinkPurpose[] = ['verify', 'reset', 'email']

const isLive = and(isNull(links.endedAt), gt(links.expiresAt, sql`now()`))

/** Makes a link. It replaces the older `verify`, `reset` or `email` link of its account. */
export async function createLink(tx: Queries, { seconds, ...link }: NewLink): Promise<Link> {
  if (link.userId && replacing.includes(link.purpose)) await endLinks(tx, link.userId, [link.purpose])
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
    .set({ endedAt: sql`now()` })
    .where(and(eq(links.id, id), eq(links.purpose, purpose), isLive))
    .returning()
  return used
}

/** Returns a link that is live, without using it. */
export async function findLink(on: Queries, id: string, purpose: LinkPurpose): Promise<Link | undefined> {
  const [found] = await on
    .select()
    .from(links)
    .where(and(eq(links.id, id), eq(links.purpose, purpose), isLive))
  return found
}

/** Ends links of an account. By default those that a change of a credential withdraws. */
export async function endLinks(
  tx: Queries,
  userId: string,
  purposes: readonly LinkPurpose[] = withdrawn,
): Promise<void> {
  await tx
    .update(links)
    .set({ endedAt: sql`now()` })
    .where(and(eq(links.userId, userId), inArray(links.purpose, purposes), isNull(links.endedAt)))
}
