import type { Database, Queries } from './database.ts'
import { auditEvents } from './schema.ts'

/** Who sent a request, as far as the network tells. */
export interface Caller {
  ip: string | undefined
  userAgent: string | undefined
}

export type AuditEvent = Pick<
  typeof auditEvents.$inferInsert,
  'event' | 'reason' | 'userId' | 'sessionId' | 'ip' | 'userAgent' | 'secret' | 'kid' | 'source'
>

/** Records events in the transaction that makes them happen: both are there, or neither. */
export async function recordEvents(on: Queries, events: AuditEvent[]): Promise<void> {
  if (events.length > 0) await on.insert(auditEvents).values(events)
}

/** Events that change nothing else. Throws AuthError `unavailable` where the database is out of reach. */
export function createAuditLog({ database }: { database: Database }) {
  return { record: (event: AuditEvent) => database.run((queries) => recordEvents(queries, [event])) }
}

export type AuditLog = ReturnType<typeof createAuditLog>
