import type { Database, Queries } from './database.ts'
import { auditEvents } from './schema.ts'

/** The network address and browser that a request came from. */
export interface Caller {
  ip: string | undefined
  userAgent: string | undefined
}

export type AuditEvent = Pick<
  typeof auditEvents.$inferInsert,
  'event' | 'reason' | 'userId' | 'sessionId' | 'ip' | 'userAgent' | 'secret' | 'kid' | 'source'
>

/** Records events in the transaction that causes them, so that neither exists without the other. */
export async function recordEvents(on: Queries, events: AuditEvent[]): Promise<void> {
  if (events.length > 0) await on.insert(auditEvents).values(events)
}

/** Records events that change nothing else. Throws AuthError `unavailable` if the database is unavailable. */
export function createAuditLog({ database }: { database: Database }) {
  return { record: (event: AuditEvent) => database.run((queries) => recordEvents(queries, [event])) }
}

export type AuditLog = ReturnType<typeof createAuditLog>
