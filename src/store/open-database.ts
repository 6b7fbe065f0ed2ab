import type { PgTable } from 'drizzle-orm/pg-core'
import type { Database } from './database.ts'
import { openEmbedded } from './embedded.ts'
import { openPostgres } from './postgres.ts'

/**
 * Opens PostgreSQL at `url`, or the embedded database in `folder` if there is no URL. Brings its tables up to date.
 * @throws DatabaseError; DatabaseUrlError if the URL itself, or its TLS settings, cannot work
 */
export function openDatabase(settings: {
  url?: string | undefined
  folder: string
  /** The tables of features. */
  tables?: readonly PgTable[]
  /** Whether to report a connection that others on the network can read. */
  warnIfExposed?: boolean
  onTrouble: (message: string) => void
  /** Called with the number of migrations that were applied. */
  onMigrated?: (count: number) => void
}): Promise<Database> {
  const { url } = settings
  return url === undefined ? openEmbedded(settings) : openPostgres({ ...settings, url })
}
