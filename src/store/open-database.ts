import type { Database } from './database.ts'
import { openEmbedded } from './embedded.ts'
import { openPostgres, type PostgresSettings } from './postgres.ts'

/**
 * Opens PostgreSQL at `url`, or the embedded database in `folder` if there is no URL. Brings its tables up to date.
 * @throws DatabaseError; DatabaseUrlError if the URL itself, or its TLS settings, cannot work
 */
export function openDatabase(
  settings: Omit<PostgresSettings, 'url'> & { url?: string | undefined; folder: string },
): Promise<Database> {
  const { url } = settings
  return url === undefined ? openEmbedded(settings) : openPostgres({ ...settings, url })
}
