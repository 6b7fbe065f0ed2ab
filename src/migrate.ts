// `npm run migrate` starts this, as the role that owns the tables. It migrates, grants another role the rights to serve,
// and deletes the audit events that are older than AUDIT_DAYS.
import { parseArgs } from 'node:util'
import { loadDatabaseConfig } from './config/config.ts'
import { ConfigError, exitConfig } from './config/config-error.ts'
import { takeEnvironment } from './config/environment.ts'
import { codeOf } from './errors.ts'
import { DatabaseUrlError } from './store/database-url.ts'
import { createHousekeeping } from './store/housekeeping.ts'
import { grantRights } from './store/migrate.ts'
import { openDatabase } from './store/open-database.ts'

try {
  const { grant } = parseArgs({ options: { grant: { type: 'string' } } }).values
  const { url, auditDays } = await loadDatabaseConfig(takeEnvironment())
  const database = await openDatabase({
    url,
    folder: '',
    onTrouble: (message) => void process.stderr.write(`${message}\n`),
    onMigrated: (count) => report(count === 0 ? 'Nothing to migrate.' : `Applied ${count} migrations.`),
  })
  if (grant) {
    await database.transaction((tx) => grantRights(tx, grant))
    report(`Granted ${grant} the rights to serve.`)
  }
  await createHousekeeping({ database, auditDays }).purge()
  await database.close()
} catch (error) {
  const { cause } = error as Error
  const problem = cause instanceof Error ? cause : (error as Error)
  const isUnknownRole = codeOf(problem) === '42704' // undefined_object
  const text = isUnknownRole
    ? `--grant: ${problem.message}. Create it as docs/roles.sql does.`
    : problem.message
  process.stderr.write(`${text}\n`)
  process.exitCode = error instanceof ConfigError || error instanceof DatabaseUrlError ? exitConfig : 1
}

function report(line: string): void {
  process.stdout.write(`${line}\n`)
}
