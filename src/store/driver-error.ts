import { DrizzleQueryError } from 'drizzle-orm'
import { codeOf } from '../errors.ts'

/** Returns the error of the driver. Drizzle wraps it in one whose message contains the statement and its parameters. */
export function driverError(error: unknown): Error {
  const cause = error instanceof DrizzleQueryError ? error.cause : error
  return cause instanceof Error ? cause : new Error(String(cause))
}

/** Whether the database undid a transaction because of another one: serialization_failure, deadlock_detected. */
export const isConflict = (error: Error) => ['40001', '40P01'].includes(codeOf(error) ?? '')

/** read_only_sql_transaction */
export const readOnlyState = '25006'
export const isReadOnly = (error: Error) => codeOf(error) === readOnlyState

// Failures that pass without a change by the operator. Errors of the network begin with E. The others are SQLSTATEs.
const transient = new RegExp(
  [
    '^E(CONN\\w+|PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|NOTFOUND|AI_AGAIN)$',
    // Classes: connection, rollback, resources, operator intervention (and statement timeout), system error.
    '^(08|40|53|57|58)',
    // Transactions: read-only, failed, idle for too long, or too long. Then lock timeouts.
    '^(25006|25P0[234]|55P03)',
  ].join('|'),
)

/** Whether the database is unavailable, and may be available again by itself. */
export function isUnavailable(error: Error): boolean {
  const code = codeOf(error)
  if (code === undefined) return /timeout|terminated|closed|not queryable/i.test(error.message)
  return transient.test(code)
}
