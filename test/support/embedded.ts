import type { PGlite } from '@electric-sql/pglite'
import { sql } from 'drizzle-orm'
import type { Database } from '../../src/store/database.ts'
import { openEmbedded } from '../../src/store/embedded.ts'
import { searchPath } from './clock-schema.ts'
import type { Kept } from './jest-environment.ts'

/** Opens a database that Jest keeps for all test files. It may contain rows of an earlier file. */
export async function openInMemory(): Promise<Database> {
  const { kept } = globalThis as unknown as { kept: Kept }
  const shared = await kept.takeDatabase()
  let isClosed = false
  const open = () => {
    if (isClosed) throw new Error('the database is closed')
    return shared
  }
  const client = {
    ...queriesOn(open),
    transaction: inThisRealm((work: (tx: Queryable) => Promise<unknown>) =>
      open().transaction((tx) => work(queriesOn(() => tx))),
    ),
    async close() {
      isClosed = true
      await kept.giveBack(shared)
    },
  }
  // Drizzle uses no other functions. They are in the prototype, so `withoutDatabase` can hide them for a while.
  const database = await openEmbedded({ folder: 'memory://', client: Object.create(client) })
  await database.run((queries) => queries.execute(sql.raw(`SET search_path = ${searchPath}`)))
  return database
}

type Queryable = ReturnType<typeof queriesOn>

const queriesOn = (client: () => Pick<PGlite, 'query' | 'exec'>) => ({
  query: inThisRealm((...call: Parameters<PGlite['query']>) => client().query(...call)),
  exec: inThisRealm((...call: Parameters<PGlite['exec']>) => client().exec(...call)),
})

// The database is outside the realm of the test file, so its errors are not instances of the `Error` here.
const inThisRealm =
  <Call extends unknown[], Result>(run: (...call: Call) => Promise<Result>) =>
  async (...call: Call): Promise<Result> => {
    try {
      return await run(...call)
    } catch (error) {
      throw error instanceof Error ? error : Object.assign(new Error((error as Error).message), error)
    }
  }
