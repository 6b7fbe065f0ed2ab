// Runs once before the suites. Creates the image of an empty, migrated embedded database. Each worker opens copies of the
// image in memory. The image is kept under node_modules until PGlite or a migration changes.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { clockSchema } from './clock-schema.ts'

const migrationsFolder = 'src/store/migrations'
const cacheFolder = 'node_modules/.cache/test-database'

const trims = [
  // Two thirds of the files belong to these databases. Every test database would unpack them.
  'UPDATE pg_database SET datistemplate = false',
  'DROP DATABASE template0',
  'DROP DATABASE template1',
  // Otherwise a timer that reports a slow start runs on in each database, and keeps Jest from ending.
  'ALTER SYSTEM SET log_startup_progress_interval = 0',
]

export default async function prepareImage(): Promise<void> {
  const hash = createHash('sha256').update(readFileSync('package-lock.json')).update(clockSchema)
  hash.update(readFileSync('src/store/migrate.ts')).update(trims.join())
  hash.update(readFileSync(`${migrationsFolder}/meta/_journal.json`))
  for (const name of readdirSync(migrationsFolder).sort())
    if (name.endsWith('.sql')) hash.update(readFileSync(`${migrationsFolder}/${name}`))
  const path = `${cacheFolder}/${hash.digest('hex').slice(0, 16)}.tar`
  process.env.TEST_DATABASE_IMAGE = path
  if (existsSync(path)) return
  // Imported only now, because this takes a second, and usually there is an image.
  const { PGlite } = await import('@electric-sql/pglite')
  const { dataDir } = await import('@electric-sql/pglite-prepopulatedfs')
  const { drizzle } = await import('drizzle-orm/pglite')
  const { migrate } = await import('../../src/store/migrate.ts')
  const client = await PGlite.create('memory://', { loadDataDir: await dataDir() })
  await client.exec(clockSchema)
  await migrate(drizzle({ client }))
  for (const statement of trims) await client.query(statement)
  const image = await client.dumpDataDir('none')
  await client.close()
  mkdirSync(cacheFolder, { recursive: true })
  writeFileSync(`${path}.new`, Buffer.from(await image.arrayBuffer()))
  renameSync(`${path}.new`, path)
}
