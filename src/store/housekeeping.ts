import { type SQL, sql } from 'drizzle-orm'
import type { PgColumn, PgTable } from 'drizzle-orm/pg-core'
import { type Database, rowsOf } from './database.ts'
import { forgetHashes } from './links.ts'
import { attempts, auditEvents, links, outbox, sessions } from './schema.ts'

/** Deletes rows that are no longer needed. */
export type Purge = (database: Database) => Promise<void>

const rowsAtOnce = 1000

/**
 * Returns a function that deletes the rows for which `condition` holds. Let an index cover the condition. The function
 * takes small steps, so that it delays no request. Servers that purge at the same time share the work.
 */
export function purgeWhere(table: PgTable, key: PgColumn, condition: SQL): Purge {
  const statement = sql`DELETE FROM ${table} WHERE ${key} IN
    (SELECT ${key} FROM ${table} WHERE ${condition} LIMIT ${rowsAtOnce} FOR UPDATE SKIP LOCKED) RETURNING 1`
  return async (database) => {
    const step = () => database.run((queries) => rowsOf(queries, statement))
    while ((await step()).length === rowsAtOnce);
  }
}

// The outbox keeps its mails for a day, and their links with them.
const withoutMail = sql`NOT EXISTS (SELECT 1 FROM ${outbox} WHERE ${outbox.linkId} = ${links.id})`

const purges: Purge[] = [
  purgeWhere(attempts, attempts.key, sql`${attempts.windowEnds} < now()`),
  // A session is not needed after it has ended. Its tokens get 401 `session_ended` whether or not the row exists. A
  // reused token has no session left to end. The audit says why the session ended.
  purgeWhere(sessions, sessions.id, sql`${sessions.endedAt} <= now()`),
  purgeWhere(sessions, sessions.id, sql`${sessions.expiresAt} < now()`),
  forgetHashes,
  purgeWhere(links, links.id, sql`${links.endedAt} <= now() AND ${withoutMail}`),
  purgeWhere(links, links.id, sql`${links.expiresAt} < now() AND ${withoutMail}`),
]

/**
 * Deletes windows that are over, sessions that have ended or are past their absolute limit, links that are over, and
 * audit events older than `auditDays`. Only a role with the rights to delete audit events does so. Others leave it to `npm run migrate`.
 * @param options.purges what features delete
 */
export function createHousekeeping(options: {
  database: Database
  auditDays: number
  purges?: readonly Purge[]
}) {
  const { database, auditDays } = options
  const tooOld = sql`${auditEvents.at} < now() - make_interval(days => ${auditDays})`
  const purgeAudit = purgeWhere(auditEvents, auditEvents.id, tooOld)

  async function mayDeleteAudit(): Promise<boolean> {
    const [row] = await database.run((queries) =>
      rowsOf<{ allowed: boolean }>(
        queries,
        sql`SELECT bool_and(has_table_privilege('audit_events', needed)) AS allowed
          FROM unnest(ARRAY['SELECT', 'UPDATE', 'DELETE']) needed`,
      ),
    )
    return row?.allowed === true
  }

  return {
    async purge(): Promise<void> {
      for (const purge of purges) await purge(database)
      if (await mayDeleteAudit()) await purgeAudit(database)
      for (const purge of options.purges ?? []) await purge(database)
    },
  }
}
