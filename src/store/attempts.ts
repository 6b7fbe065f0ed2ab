import { and, eq, sql } from 'drizzle-orm'
import { type AuditEvent, recordEvents } from './audit.ts'
import { type Database, guarded } from './database.ts'
import { attempts } from './schema.ts'

/** How many attempts a window of so many seconds has room for. */
export interface Limit {
  attempts: number
  seconds: number
}

/** A counted attempt: enough to take it back from the window it was counted in, and from no other. */
export interface CountedAttempt {
  key: string
  windowEnds: Date
}

/**
 * Attempts, counted in the database: instances share the windows, a restart does not empty them, and one clock
 * decides. All functions throw AuthError `unavailable` where it is out of reach.
 */
export function createAttemptStore({ database }: { database: Database }) {
  const { queries } = database
  // Of any number of instances that see a full window at once, the one whose update finds it unmarked records it.
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

  return guarded({
    /**
     * Counts an attempt unless the window is full: one conditional statement, so that of any number of attempts at
     * once no more than the limit are let through, and those that are not leave no row.
     * @param throttled recorded if this is the first attempt that finds the window full
     * @returns the attempt; or, where there is no room, in how many seconds there will be
     */
    async count(
      key: string,
      limit: Limit,
      throttled: AuditEvent,
    ): Promise<CountedAttempt | { retryAfterSeconds: number }> {
      const over = sql`${attempts.windowEnds} <= now()`
      const newEnd = sql`now() + make_interval(secs => ${limit.seconds})`
      const [counted] = await queries
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
        .returning({ key: attempts.key, windowEnds: attempts.windowEnds })
      if (counted) return counted
      const [full] = await queries
        .select({
          key: attempts.key,
          windowEnds: attempts.windowEnds,
          throttled: attempts.throttled,
          seconds: sql<string>`ceil(extract(epoch FROM ${attempts.windowEnds} - now()))`,
        })
        .from(attempts)
        .where(eq(attempts.key, key))
      if (full && !full.throttled) await recordOnce(full, throttled)
      return { retryAfterSeconds: Math.max(1, Number(full?.seconds ?? 1)) }
    },

    /** Leaves no row behind where it was the only one, as rows of attempts that cost nothing cost nothing to make. */
    async takeBack({ key, windowEnds }: CountedAttempt): Promise<void> {
      const counted = and(eq(attempts.key, key), eq(attempts.windowEnds, windowEnds))
      const gone = await queries
        .delete(attempts)
        .where(and(counted, eq(attempts.count, 1)))
        .returning({ key: attempts.key })
      if (gone.length > 0) return
      await queries
        .update(attempts)
        .set({ count: sql`${attempts.count} - 1` })
        .where(counted)
    },
  })
}

export type AttemptStore = ReturnType<typeof createAttemptStore>
