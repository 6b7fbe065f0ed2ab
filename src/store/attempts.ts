import { and, eq, inArray, sql } from 'drizzle-orm'
import { type AuditEvent, recordEvents } from './audit.ts'
import type { Database, Queries } from './database.ts'
import { attempts } from './schema.ts'

/** A window lasts `seconds` seconds, and has room for `attempts` attempts. */
export interface Limit {
  attempts: number
  seconds: number
}

/** A counted attempt, and the window in which it was counted. */
export interface CountedAttempt {
  key: string
  windowEnds: Date
}

/** Deletes counts, in the transaction that makes them pointless. */
export async function clearAttempts(tx: Queries, keys: string[]): Promise<void> {
  await tx.delete(attempts).where(inArray(attempts.key, keys))
}

/**
 * Counts attempts in the database. So servers share the windows, a restart does not empty them, and one clock
 * decides. All functions throw AuthError `unavailable` if the database is unavailable.
 */
export function createAttemptStore({ database }: { database: Database }) {
  /** Counts an attempt unless the window is full, in one conditional statement. */
  async function countIfRoom(key: string, limit: Limit): Promise<CountedAttempt | undefined> {
    const over = sql`${attempts.windowEnds} <= now()`
    const newEnd = sql`now() + make_interval(secs => ${limit.seconds})`
    const [counted] = await database.run((queries) =>
      queries
        .insert(attempts)
        .values({ key, count: 1, windowEnds: newEnd })
        .onConflictDoUpdate({
          target: attempts.key,
          set: {
            count: sql`CASE WHEN ${over} THEN 1 ELSE ${attempts.count} + 1 END`,
            windowEnds: sql`CASE WHEN ${over} THEN ${newEnd} ELSE ${attempts.windowEnds} END`,
            throttled: sql`NOT ${over} AND ${attempts.throttled}`,
          },
          setWhere: sql`${over} OR ${attempts.count} < ${limit.attempts}`,
        })
        .returning({ key: attempts.key, windowEnds: attempts.windowEnds }),
    )
    return counted
  }

  // Several servers may see the full window at once. Only the one that marks it records the event.
  function recordOnce({ key, windowEnds }: CountedAttempt, event: AuditEvent): Promise<void> {
    return database.transaction(async (tx) => {
      const marked = await tx
        .update(attempts)
        .set({ throttled: true })
        .where(and(eq(attempts.key, key), eq(attempts.windowEnds, windowEnds), eq(attempts.throttled, false)))
        .returning({ key: attempts.key })
      if (marked.length > 0) await recordEvents(tx, [event])
    })
  }

  return {
    /**
     * Counts an attempt unless the window is full. Parallel attempts never exceed the limit, and refused attempts
     * leave no row.
     * @param throttled recorded if this is the first attempt that finds the window full
     * @returns the attempt, or the seconds until there is room
     */
    async count(
      key: string,
      limit: Limit,
      throttled: AuditEvent,
    ): Promise<CountedAttempt | { retryAfterSeconds: number }> {
      const counted = await countIfRoom(key, limit)
      if (counted) return counted
      const seconds = sql<string>`ceil(extract(epoch FROM ${attempts.windowEnds} - now()))`
      const { windowEnds } = attempts
      const [full] = await database.run((queries) =>
        queries
          .select({ key: attempts.key, windowEnds, throttled: attempts.throttled, seconds })
          .from(attempts)
          .where(eq(attempts.key, key)),
      )
      if (full && !full.throttled) await recordOnce(full, throttled)
      return { retryAfterSeconds: Math.max(1, Number(full?.seconds ?? 1)) }
    },

    /**
     * Takes an attempt back. If it is the only attempt of its window, deletes the row. Otherwise clients could create
     * rows at no cost.
     */
    async takeBack({ key, windowEnds }: CountedAttempt): Promise<void> {
      const counted = and(eq(attempts.key, key), eq(attempts.windowEnds, windowEnds))
      const onlyOne = and(counted, eq(attempts.count, 1))
      const deleted = await database.run((queries) =>
        queries.delete(attempts).where(onlyOne).returning({ key: attempts.key }),
      )
      if (deleted.length > 0) return
      const oneLess = { count: sql`${attempts.count} - 1` }
      await database.run((queries) => queries.update(attempts).set(oneLess).where(counted))
    },
  }
}

export type AttemptStore = ReturnType<typeof createAttemptStore>
