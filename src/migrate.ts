// What `npm run migrate` starts, as the role that owns the tables: migrates, grants another role the rights for serving,
// and deletes the audit events that are older than AUDIT_DAYS.
import { parseArgs } from 'node:util'
import { ConfigError, exitConfig, loadDatabaseConfig, takeEnvironment } from './config.ts'
import { openDatabase } from './store/database.ts'
import { DatabaseUrlError } from './store/database-url.ts'
import { createHousekeeping } from './store/housekeeping.ts'
import { grantRights } from './store/migrate.ts'

try {
  const { values } = parseArgs({ options: { grant: { type: 'string' } } })
  const { url, auditDays } = await loadDatabaseConfig(takeEnvironment())
  const database = await openDatabase({
    url,
    folder: '',
    onTrouble: (message) => void process.stderr.write(`${message}\n`),
  })
  if (values.grant) await database.transaction((tx) => grantRights(tx, values.grant as string))
  await createHousekeeping({ database, auditDays }).purge()
  await database.close()
} catch (error) {
  const { message, cause } = error as Error
  process.stderr.write(`${cause instanceof Error ? cause.message : message}\n`)
  process.exitCode = error instanceof ConfigError || error instanceof DatabaseUrlError ? exitConfig : 1
}
