import { readFileSync } from 'node:fs'
import type { PGlite } from '@electric-sql/pglite'
import { TestEnvironment } from 'jest-environment-node'

// Jest runs each test file in a realm of its own, but loads this module once in each worker. So the databases here
// outlive a file. Creating one takes a second.
const unused: PGlite[] = []

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

/** What a test file finds in `globalThis.embedded`. */
export interface EmbeddedDatabases {
  /** Returns an embedded database in memory. It may contain rows of an earlier test file. */
  take(): Promise<PGlite>
  /** Keeps a database for the next test file. */
  giveBack(client: PGlite): Promise<void>
}

/** The environment of Jest for Node, which also keeps embedded databases for the test files. */
export default class extends TestEnvironment {
  hasFailed = false

  override async setup() {
    await super.setup()
    const embedded: EmbeddedDatabases = {
      take: async () => unused.pop() ?? createEmbedded(),
      giveBack: async (client) => {
        // A failed test may leave anything behind, such as a renamed table.
        if (this.hasFailed) return client.close()
        // Deletes settings and prepared statements of this file. Fails if a transaction is still open.
        await client.exec('DISCARD ALL')
        unused.push(client)
      },
    }
    Object.assign(this.global, { embedded })
  }

  /** Jest calls this function at each event. */
  handleTestEvent(event: { name: string; test?: { errors: unknown[] } }) {
    if (event.name === 'test_done' && event.test?.errors.length) this.hasFailed = true
  }
}
