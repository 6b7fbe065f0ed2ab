import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import pg from 'pg'
import { createPostgresDatabase } from '../../support/database.ts'
import { describeOnPostgres, postgresServer } from '../../support/require-postgres.ts'
import {
  type Answer,
  generationOf,
  residentMegabytes,
  type ServerProcess,
  send,
  startServer,
} from '../../support/server.ts'
import { longTestMs } from '../../support/time-limits.js'

jest.setTimeout(longTestMs)

const password = 'my dog is called rex'
const newPassword = 'my cat is called max'

describeOnPostgres('two servers on one PostgreSQL [G4]', () => {
  let drop: () => Promise<void>
  let settings: Record<string, string> = {}
  let servers: [ServerProcess, ServerProcess]
  beforeAll(async () => {
    const database = await createPostgresDatabase(postgresServer)
    drop = database.drop
    settings = {
      DATABASE_URL: database.url,
      PUBLIC_URL: 'http://localhost:3000',
      SESSIONS_PER_USER: '5',
    }
    // Both find an empty database: one of them makes the tables, the other waits (G4).
    servers = await Promise.all([startServer(settings), startServer(settings)])
  })
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.end('SIGTERM')))
    await drop()
  })

  const post = (server: number, path: string, options: Parameters<typeof send>[2]) =>
    send('POST', `${servers[server % 2]?.url}${path}`, options)
  const refresh = (server: number, token: string) => post(server, '/auth/refresh', { refreshToken: token })

  let users = 0
  const newUser = async () => {
    const email = `user-${++users}@example.com`
    const answer = await post(0, '/auth/register', { body: { email, password } })
    return { email, accessToken: answer.accessToken, refreshToken: answer.refreshToken as string }
  }
  const isUsable = async (answer: Answer) =>
    answer.status === 200 &&
    ((await refresh(0, answer.refreshToken as string)).status === 200 ||
      (await send('GET', `${servers[1].url}/users/me`, { accessToken: answer.accessToken })).status === 200)

  test('counts a guess whose client resets the connection against its address [D5]', async () => {
    const server = await startServer({ ...settings, LIMIT_REGISTER_ADDRESS: '1000/3600' })
    const body = JSON.stringify({ email: 'gone@example.com', password })
    const request = `POST /auth/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    const client = new pg.Client({ connectionString: settings.DATABASE_URL })
    await client.connect()
    const charged = async () =>
      (await client.query(`SELECT key, count FROM attempts WHERE key LIKE 'register-%'`)).rows
    const resets = 6
    for (let i = 0; i < resets; i++) {
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1').on('error', () => {})
      await once(socket, 'connect')
      // Time for the server to accept the connection.
      await delay(200)
      socket.write(request, () => socket.resetAndDestroy())
    }

    while ((await charged()).reduce((sum, { count }) => sum + count, 0) < resets) await delay(50)

    expect(await charged()).toEqual([{ key: 'register-address:127.0.0.1', count: resets }])
    await client.end()
    await server.end('SIGTERM')
  })

  test('2,000 rounds of 8 parallel refreshes with one token: one successor each, no logout [B1]', async () => {
    let { refreshToken: token } = await newUser()
    for (let round = 1; round <= 2000; round++) {
      const answers = await Promise.all(Array.from({ length: 8 }, (_, client) => refresh(client, token)))

      expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200))
      const successors = new Set(answers.map(({ refreshToken }) => refreshToken))
      expect(successors.size).toBe(1)
      token = answers[0]?.refreshToken as string
      expect(generationOf(token)).toBe(round + 1)
    }
  })

  type User = Awaited<ReturnType<typeof newUser>>
  const endings: Record<string, (user: User) => Promise<Answer>> = {
    logout: ({ refreshToken }) => post(1, '/auth/logout', { refreshToken }),
    'logout-all': ({ accessToken }) => post(1, '/auth/logout-all', { accessToken }),
    'a password change': async ({ email }) => {
      const other = await post(1, '/auth/login', { body: { email, password } })
      return post(1, '/auth/password', {
        accessToken: other.accessToken,
        body: { currentPassword: password, newPassword },
      })
    },
  }

  test.each(Object.entries(endings))(
    'a refresh racing %s leaves nothing usable [B8, G4]',
    async (name, end) => {
      for (let round = 0; round < 50; round++) {
        const user = await newUser()

        const [ended, ...refreshed] = await Promise.all([
          end(user),
          ...Array.from({ length: 4 }, (_, client) => refresh(client, user.refreshToken)),
        ])

        expect(ended.status).toBe(name === 'a password change' ? 200 : 204)
        for (const answer of refreshed) {
          expect([200, 401]).toContain(answer.status)
          expect(await isUsable(answer)).toBe(false)
        }
      }
    },
  )

  test.each(Object.entries(endings))(
    'reauthentications racing %s leave nothing usable [account 22] [B12]',
    async (name, end) => {
      for (let round = 0; round < 25; round++) {
        const user = await newUser()
        const reauthenticate = (server: number) =>
          post(server, '/auth/reauthenticate', { accessToken: user.accessToken, body: { password } })

        const [ended, ...proven] = await Promise.all([
          end(user),
          ...Array.from({ length: 4 }, (_, client) => reauthenticate(client)),
        ])

        expect(ended.status).toBe(name === 'a password change' ? 200 : 204)
        for (const answer of proven) {
          expect(['session_ended', undefined]).toContain(answer.code)
          expect(await isUsable(answer)).toBe(false)
        }
      }
    },
  )

  test('20 parallel reauthentications on two servers rotate the session 20 times, beside a refresh [account 22] [B12]', async () => {
    const user = await newUser()

    const [refreshed, ...proven] = await Promise.all([
      refresh(0, user.refreshToken),
      ...Array.from({ length: 20 }, (_, client) =>
        post(client, '/auth/reauthenticate', { accessToken: user.accessToken, body: { password } }),
      ),
    ])

    expect(proven.map(({ status }) => status)).toEqual(Array(20).fill(200))
    const generations = proven.map(({ refreshToken }) => generationOf(refreshToken))
    expect(new Set(generations).size).toBe(20)
    const newest = Math.max(...generations)
    // A refresh that comes after two reauthentications presents a token that is too old.
    expect(['refresh_token_reused', undefined]).toContain(refreshed.code)
    if (refreshed.code) return
    const last = proven.find(({ refreshToken }) => generationOf(refreshToken) === newest)
    expect((await refresh(1, last?.refreshToken as string)).status).toBe(200)
  })

  test('logins with the old password that race its change leave nothing usable [B8]', async () => {
    for (let round = 0; round < 50; round++) {
      const user = await newUser()
      const login = (server: number) => post(server, '/auth/login', { body: { email: user.email, password } })

      const [changed, ...logins] = await Promise.all([
        post(0, '/auth/password', {
          accessToken: user.accessToken,
          body: { currentPassword: password, newPassword },
        }),
        ...Array.from({ length: 4 }, (_, client) => login(client)),
      ])

      expect(changed.status).toBe(200)
      for (const answer of logins) {
        expect([200, 401]).toContain(answer.status)
        expect(await isUsable(answer)).toBe(false)
      }
    }
  })

  test('logins that began before a logout-all leave nothing usable [B8]', async () => {
    let cutOff = 0
    for (let round = 0; round < 50; round++) {
      const user = await newUser()
      let loggedOut = false

      const logins = Array.from({ length: 4 }, async (_, client) => {
        const answer = await post(client, '/auth/login', { body: { email: user.email, password } })
        return { answer, finishedBefore: !loggedOut }
      })
      await post(1, '/auth/logout-all', { accessToken: user.accessToken })
      loggedOut = true

      // A login that was answered before the logout was is ended by it. One that is answered later may have begun later.
      for (const { answer, finishedBefore } of await Promise.all(logins)) {
        if (answer.status === 401) cutOff++
        if (finishedBefore) expect(await isUsable(answer)).toBe(false)
      }
    }
    expect(cutOff).toBeGreaterThan(0)
  })

  test('two servers share the limits on guessing: of 40 parallel wrong guesses on both, 10 are hashed [D3, D6]', async () => {
    const limited = { ...settings, LIMIT_LOGIN_ACCOUNT: '10/900' }
    const guessed = await Promise.all([startServer(limited), startServer(limited)])
    const { email } = await newUser()

    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, client) =>
        send('POST', `${guessed[client % 2]?.url}/auth/login`, { body: { email, password: newPassword } }),
      ),
    )
    await Promise.all(guessed.map((server) => server.end('SIGTERM')))

    const codes = answers.map(({ code }) => code)
    expect(codes.filter((code) => code === 'invalid_credentials')).toHaveLength(10)
    expect(codes.filter((code) => code === 'too_many_attempts')).toHaveLength(30)
  })

  test('the session cap holds under parallel logins on both servers [B9]', async () => {
    const { email } = await newUser()
    const login = (server: number) => post(server, '/auth/login', { body: { email, password } })

    await Promise.all(Array.from({ length: 20 }, (_, client) => login(client)))

    const { accessToken } = await login(0)
    const { body } = await send('GET', `${servers[1].url}/auth/sessions`, { accessToken })
    expect(body.sessions).toHaveLength(5)
  })

  test('a server uses less than 150 MB of memory after 10,000 refreshes [G5]', async () => {
    const server = await startServer(settings)
    let { refreshToken: token } = await newUser()
    for (let count = 0; count < 10_000; count++) {
      const answer = await send('POST', `${server.url}/auth/refresh`, { refreshToken: token })
      token = answer.refreshToken as string
    }

    const megabytes = residentMegabytes(server)
    await server.end('SIGTERM')

    process.stderr.write(`resident after 10,000 refreshes: ${Math.round(megabytes)} MB\n`)
    expect(generationOf(token)).toBe(10_001)
    expect(megabytes).toBeLessThan(150)
  })
})
