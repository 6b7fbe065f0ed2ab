import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { PGlite } from '@electric-sql/pglite'
import { codeOf } from '../errors.ts'
import { createDatabase, type Database, DatabaseError, sessionSettings } from './database.ts'
import { driverError } from './driver-error.ts'
import { prepareTables } from './migrate.ts'

/**
 * Opens PGlite: PostgreSQL in this process, with its files in `folder`. With `memory://` it has no files.
 * @param settings.client an instance of PGlite in memory, if there is one
 * @throws DatabaseError
 */
export async function openEmbedded(settings: { folder: string; client?: PGlite }): Promise<Database> {
  const { folder } = settings
  const { drizzle } = await import('drizzle-orm/pglite')
  const inMemory = folder === 'memory://'
  const unlock = inMemory ? () => {} : await lockFolder(folder)
  const client = settings.client ?? (await (inMemory ? createFiles(folder) : openFiles(folder)))
  const queries = drizzle({ client })
  await client.exec(sessionSettings('0'))
  await prepareTables(queries).catch((error) => {
    throw new DatabaseError(`DATA_DIR ${folder}: ${driverError(error).message}`)
  })
  return createDatabase({
    queries,
    transaction: (work) => queries.transaction(work),
    connections: () => ({}),
    async close() {
      await client.close()
      unlock()
    },
  })
}

// Unpacks a database that the authors of PGlite have made. This is five times faster than to make one.
async function createFiles(where: string) {
  const { PGlite } = await import('@electric-sql/pglite')
  const { dataDir } = await import('@electric-sql/pglite-prepopulatedfs')
  return PGlite.create(where, { loadDataDir: await dataDir() })
}

async function openFiles(folder: string) {
  const { PGlite } = await import('@electric-sql/pglite')
  const files = join(folder, 'pglite')
  if (!existsSync(files)) {
    // Renamed only when complete. So a start that was interrupted leaves nothing that the next start would open.
    rmSync(`${files}.new`, { recursive: true, force: true })
    await (await createFiles(`${files}.new`)).close()
    renameSync(`${files}.new`, files)
  }
  return PGlite.create(files).catch((error: Error) => {
    throw new DatabaseError(
      `Cannot open the database in DATA_DIR ${folder} (${error.message}). Restore a copy, or name another folder.`,
    )
  })
}

// Two processes on one folder would silently lose each other's writes. The kernel releases the lock when the process
// ends, so a killed server leaves no lock behind.
async function lockFolder(folder: string): Promise<() => void> {
  const { tryLock } = await import('fs-native-extensions')
  let file: number
  try {
    makeFolder(folder)
    file = openSync(join(folder, 'lock'), 'a+', 0o600)
  } catch (error) {
    throw new DatabaseError(
      `Cannot use DATA_DIR ${folder} (${codeOf(error)}). Name a folder that this user may write to.`,
    )
  }
  if (tryLock(file)) return () => closeSync(file)
  closeSync(file)
  throw new DatabaseError(
    `Another process uses DATA_DIR ${folder}. Stop that process, name another folder, or set DATABASE_URL to share a PostgreSQL server.`,
  )
}

// One folder at a time, because `recursive` never returns under /proc in Node 20.
function makeFolder(folder: string): void {
  if (existsSync(folder)) return
  makeFolder(dirname(folder))
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch (error) {
    // Another process may have made it in the meantime.
    if (codeOf(error) !== 'EEXIST') throw error
  }
}
