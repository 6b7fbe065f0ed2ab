import { sql } from 'drizzle-orm'
import { type Database, rowsOf } from './database.ts'

/** `skewed`: this server's clock and the database's differ by more than 30 s. */
export type ClockStatus = 'ok' | 'skewed'

const toleranceSeconds = 30

/**
 * Compares this server's clock with the database's. The database's decides how long sessions live, this one's how long
 * access tokens do: if they differ, tokens of one are not valid by the other.
 * @param onChange is told when the clocks begin to differ, and when they agree again: by how many seconds this server
 * is ahead, which is negative if it is behind
 * @returns a function that compares; `ok` if the database does not answer, which is for another check to say
 */
export function createClockCheck({
  database,
  clock,
  onChange,
}: {
  database: Database
  clock: () => number
  onChange: (status: ClockStatus, secondsAhead: number) => void
}) {
  let last: ClockStatus = 'ok'

  return async function compareClocks(): Promise<ClockStatus> {
    const before = clock()
    const now = await databaseTime(database)
    if (now === undefined) return 'ok'
    const after = clock()
    // The answer is of some time between the two. A slow one must not look like a skew.
    const ahead = (now < before ? before - now : Math.min(0, after - now)) / 1000
    const status = Math.abs(ahead) > toleranceSeconds ? 'skewed' : 'ok'
    if (status !== last) onChange(status, Math.round(ahead))
    last = status
    return status
  }
}

/** Returns the database's time in milliseconds since 1970, or undefined if it does not answer. */
async function databaseTime(database: Database): Promise<number | undefined> {
  try {
    const [row] = await database.run((queries) =>
      rowsOf<{ now: string }>(queries, sql`SELECT extract(epoch FROM now()) * 1000 AS now`),
    )
    return Number(row?.now)
  } catch {
    return undefined
  }
}
