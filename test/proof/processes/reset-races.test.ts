import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import type { Database } from '../../../src/store/database.ts'
import { openDatabase } from '../../../src/store/open-database.ts'
import { createPostgresDatabase } from '../../support/database.ts'
import { publicUrl } from '../../support/environment.ts'
import { newLink } from '../../support/links.ts'
import { describeOnPostgres, postgresServer } from '../../support/require-postgres.ts'
import { type ServerProcess, send, startServer } from '../../support/server.ts'
import { longTestMs } from '../../support/time-limits.js'

jest.setTimeout(longTestMs)

/** How often each pair races. `.ci/run` sets 50. */
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

  test('a link that is asked for during a logout-all is made after it, or ends with it [account 7]', async () => {
    for (let round = 0; round < rounds; round++) {
      const user = await newUser()
      const older = await newLink({ db: { database } as never }, 'reset', user)

      const [asked, ended] = await Promise.all([
        post(round % 2, 'password/forgot', { body: { email: user.email } }),
        post((round + 1) % 2, 'logout-all', { accessToken: user.accessToken }),
      ])

      expect([asked.status, ended.status]).toEqual([202, 204])
      const [newPassword] = newPasswords
      const refused = await post(0, 'password/reset', { body: { token: older, newPassword } })
      expect([refused.status, refused.code]).toEqual([410, 'link_invalid'])
    }
  })
})
