import { describe } from '@jest/globals'

/** The PostgreSQL server of the suites that need one; empty if there is none. */
export const postgresServer = process.env.TEST_DATABASE_URL ?? ''

/** A suite on PostgreSQL. Without a server it is skipped with a message. In CI it fails. */
export const describeOnPostgres: (name: string, tests: () => void) => void = postgresServer
  ? describe
  : (name, tests) => {
      const message = `"${name}" needs PostgreSQL: set TEST_DATABASE_URL=postgres://user@host:port/database`
      if (process.env.CI) throw new Error(message)
      process.stderr.write(`Left out: ${message}\n`)
      describe.skip(name, tests)
    }
