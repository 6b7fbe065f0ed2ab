import { sql } from 'drizzle-orm'
import { type Database, guarded } from './database.ts'

const rowsAtOnce = 1000

/**
 * Deletes what nobody needs any more: windows that are over, sessions past their absolute limit, of which no token
 * can be valid, and audit events older than `auditDays`. In small steps, each along an index, so that it disturbs
 * nobody; instances that do it at once only share the work.
 */
export function createHousekeeping({ database, auditDays }: { database: Database; auditDays: number }) {
  const purges = [
    sql`DELETE FROM attempts WHERE key IN
      (SELECT key FROM attempts WHERE window_ends < now() LIMIT ${rowsAtOnce} FOR UPDATE SKIP LOCKED)`,
    sql`DELETE FROM sessions WHERE id IN
      (SELECT id FROM sessions WHERE expires_at < now() LIMIT ${rowsAtOnce} FOR UPDATE SKIP LOCKED)`,
    sql`DELETE FROM audit_events WHERE id IN
      (SELECT id FROM audit_events WHERE at < now() - make_interval(days => ${auditDays}) LIMIT ${rowsAtOnce} FOR UPDATE SKIP LOCKED)`,
  ]
  return guarded({
    async purge(): Promise<void> {
      for (const statement of purges) while ((await deleted(statement)) === rowsAtOnce);
    },
  })

  async function deleted(statement: ReturnType<typeof sql>): Promise<number> {
    // The two drivers call it by different names.
    const result = (await database.queries.execute(statement)) as { rowCount?: number; affectedRows?: number }
    return result.rowCount ?? result.affectedRows ?? 0
  }
}
