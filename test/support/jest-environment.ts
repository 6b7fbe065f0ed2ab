import { readFileSync } from 'node:fs'
import type { PGlite } from '@electric-sql/pglite'
import { TestEnvironment } from 'jest-environment-node'
import { startPool, type Threads } from '../../src/auth/password.ts'

// Jest runs each test file in a realm of its own, but loads this module once in each worker. So what is here outlives a
// file. Creating a database takes a second. Threads load dictionaries.
const unused: PGlite[] = []
let threads: Threads | undefined

async function createEmbedded(): Promise<PGlite> {
  const { PGlite } = await import('@electric-sql/pglite')
  const image = new Blob([readFileSync(process.env.TEST_DATABASE_IMAGE ?? '')])
  const client = await PGlite.create('memory://', { loadDataDir: image })
  const run = client.execProtocolRawSync.bind(client)
  client.execProtocolRawSync = (message) => withoutHolding(() => run(message))
  return client
}

// PostgreSQL sets a timer for its statistics. It must not keep Jest from ending.
function withoutHolding<T>(runStatement: () => T): T {
  const { setTimeout } = globalThis
  globalThis.setTimeout = ((work: () => void, ms: number) =>
    setTimeout(work, ms).unref()) as typeof setTimeout
  try {
    return runStatement()
  } finally {
    globalThis.setTimeout = setTimeout
  }
}

/** What outlives a test file. A file finds it in `globalThis.kept`. */
export interface Kept {
  /** Returns an embedded database in memory. It may contain rows of an earlier file. */
  takeDatabase(): Promise<PGlite>
  /** Keeps a database for the next file. */
  giveBack(client: PGlite): Promise<void>
  startThreads(maxThreads: number): Threads
}

/** The environment of Jest for Node, with `kept`. */
export default class extends TestEnvironment {
  hasFailed = false

  override async setup() {
    await super.setup()
    const kept: Kept = {
      takeDatabase: async () => unused.pop() ?? createEmbedded(),
      giveBack: async (client) => {
        // A failed test may leave anything behind, such as a renamed table.
        if (this.hasFailed) return client.close()
        // Deletes settings and prepared statements of this file. Fails if a transaction is still open.
        await client.exec('DISCARD ALL')
        unused.push(client)
      },
      startThreads: (maxThreads) => {
        threads ??= startPool(maxThreads)
        return threads
      },
    }
    Object.assign(this.global, { kept })
  }

  /** Jest calls this function at each event. */
  handleTestEvent(event: { name: string; test?: { errors: unknown[] } }) {
    if (event.name === 'test_done' && event.test?.errors.length) this.hasFailed = true
  }
}
