import { type SQL, sql } from 'drizzle-orm'
import type { PgColumn, PgTable } from 'drizzle-orm/pg-core'
import { type Database, guarded } from './database.ts'
import { attempts, auditEvents, sessions } from './schema.ts'

const rowsAtOnce = 1000

/**
 * Deletes what is not needed any more: windows that are over, sessions that have ended or are past their absolute limit,
 * and audit events older than `auditDays`. In small steps, each along an index, so that it delays no request; instances
 * that do it at once only share the work.
 *
 * An ended session is deleted at once. None of its tokens is valid again, and each is answered 401 `session_ended`
 * whether the row is there or not. Reuse of its tokens has nothing left to end. Why it ended is in the audit.
 *
 * A role that may only add audit events leaves them to the owner's `npm run migrate`.
 */
export function createHousekeeping({ database, auditDays }: { database: Database; auditDays: number }) {
  const purges = [
    deleteWhere(attempts, attempts.key, sql`${attempts.windowEnds} < now()`),
    deleteWhere(sessions, sessions.id, sql`${sessions.endedAt} <= now()`),
    deleteWhere(sessions, sessions.id, sql`${sessions.expiresAt} < now()`),
  ]
  const purgeAudit = deleteWhere(
    auditEvents,
    auditEvents.id,
    sql`${auditEvents.at} < now() - make_interval(days => ${auditDays})`,
  )

  return guarded({
    async purge(): Promise<void> {
      const allowed = (await mayDeleteAudit()) ? [...purges, purgeAudit] : purges
      for (const statement of allowed) while ((await deleted(statement)) === rowsAtOnce);
    },
  })

  async function mayDeleteAudit(): Promise<boolean> {
    const { rows } = (await database.queries.execute(
      sql`SELECT bool_and(has_table_privilege('audit_events', needed)) AS allowed
        FROM unnest(ARRAY['SELECT', 'UPDATE', 'DELETE']) needed`,
    )) as unknown as { rows: { allowed: boolean }[] }
    return rows[0]?.allowed === true
  }

  async function deleted(statement: SQL): Promise<number> {
    // The two drivers call it by different names.
    const result = (await database.queries.execute(statement)) as { rowCount?: number; affectedRows?: number }
    return result.rowCount ?? result.affectedRows ?? 0
  }
}

const deleteWhere = (
  table: PgTable,
  key: PgColumn,
  condition: SQL,
) => sql`DELETE FROM ${table} WHERE ${key} IN
  (SELECT ${key} FROM ${table} WHERE ${condition} LIMIT ${rowsAtOnce} FOR UPDATE SKIP LOCKED)`
