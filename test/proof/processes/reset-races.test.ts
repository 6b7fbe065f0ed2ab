import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { type SQL, sql } from 'drizzle-orm'
import { type Database, rowsOf } from '../../../src/store/database.ts'
import { openDatabase } from '../../../src/store/open-database.ts'
import { lockAccount } from '../../../src/store/users.ts'
import { createPostgresDatabase } from '../../support/database.ts'
import { publicUrl } from '../../support/environment.ts'
import { mailedToken, newLink } from '../../support/links.ts'
import { describeOnPostgres, postgresServer } from '../../support/require-postgres.ts'
import { type Answer, type ServerProcess, send, startServer } from '../../support/server.ts'
import { longTestMs } from '../../support/time-limits.js'

jest.setTimeout(longTestMs)

/**
 * How often each pair races. `.ci/run` sets 8, because 50 take minutes. To run 50:
 * `RACE_ROUNDS=50 npm run test:processes -- races`.
 */
const rounds = Number(process.env.RACE_ROUNDS ?? 3)
const password = 'my dog is called rex'
const newPasswords = ['my cat is called tux', 'my owl is called max'] as const

describeOnPostgres('uses of links race on two servers', () => {
  let drop: () => Promise<void>
  let database: Database
  let servers: [ServerProcess, ServerProcess]
  beforeAll(async () => {
    const created = await createPostgresDatabase(postgresServer)
    drop = created.drop
    const settings = { DATABASE_URL: created.url, PUBLIC_URL: publicUrl }
    servers = await Promise.all([startServer(settings), startServer(settings)])
    database = await openDatabase({ url: created.url, folder: '', onTrouble: () => {} })
  })
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.end('SIGTERM')))
    await database.close()
    await drop()
  })

  const rows = <T>(statement: SQL) => database.run((queries) => rowsOf<T>(queries, statement))
  const post = (server: number, path: string, options: Parameters<typeof send>[2] = {}) =>
    send('POST', `${servers[server]?.url}/auth/${path}`, options)
  const login = (email: string, withPassword: string) =>
    post(0, 'login', { body: { email, password: withPassword } })

  let users = 0
  async function newUser() {
    const email = `racer-${++users}@example.com`
    const { accessToken, body } = await post(0, 'register', { body: { email, password } })
    return { email, accessToken, userId: (body.user as { id: string }).id }
  }

  test('two resets with one link: one has effect, and only its password works [account 7]', async () => {
    for (let round = 0; round < rounds; round++) {
      const user = await newUser()
      const token = await newLink({ db: { database } as never }, 'reset', user)

      const answers = await Promise.all(
        newPasswords.map((newPassword, server) =>
          post(server, 'password/reset', { body: { token, newPassword } }),
        ),
      )

      expect(answers.map(({ status }) => status).sort()).toEqual([204, 410])
      const works = []
      for (const one of [password, ...newPasswords]) works.push((await login(user.email, one)).status === 200)
      expect(works).toEqual([false, ...answers.map(({ status }) => status === 204)])
    }
  })

  /** Sends requests that wait for the row of a user, each when the one before it waits. Then lets them go on in turn. */
  async function inTurn(userId: string, requests: (() => Promise<Answer>)[]): Promise<Answer[]> {
    const sent: Promise<Answer>[] = []
    await database.transaction(async (tx) => {
      await lockAccount(tx, { id: userId })
      for (const request of requests) {
        sent.push(request())
        while ((await countWaiting()) < sent.length) await delay(10)
      }
    })
    return Promise.all(sent)
  }

  async function countWaiting(): Promise<number> {
    const [row] = await rows<{ count: number }>(sql`SELECT count(*)::int AS count FROM pg_stat_activity
      WHERE datname = current_database() AND wait_event_type = 'Lock'`)
    return row?.count ?? 0
  }

  test.each([
    ['before a logout-all that waits with it ends', false],
    ['after a logout-all that waits with it works', true],
  ])('a link that is made %s [account 7]', async (_what, isLast) => {
    const user = await newUser()
    const older = await newLink({ db: { database } as never }, 'reset', user)
    const forget = () => post(0, 'password/forgot', { body: { email: user.email } })
    const logOut = () => post(1, 'logout-all', { accessToken: user.accessToken })

    const answers = await inTurn(user.userId, isLast ? [logOut, forget] : [forget, logOut])

    expect(answers.map(({ status }) => status)).toEqual(isLast ? [204, 202] : [202, 204])
    const newer = await mailedToken({ db: { database, rows } as never }, user.email, 'reset')
    const statuses = []
    for (const token of [older, newer])
      statuses.push(
        (await post(0, 'password/reset', { body: { token, newPassword: newPasswords[0] } })).status,
      )
    expect(statuses).toEqual([410, isLast ? 204 : 410])
  })
})
