import { execFile } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { createPostgresDatabase } from '../../support/database.ts'
import { createProxy, type TcpProxy } from '../../support/proxy.ts'
import { describeOnPostgres, postgresServer } from '../../support/require-postgres.ts'
import { type ServerProcess, send, startServer } from '../../support/server.ts'

/** A command that takes `kill|freeze|up postgres`: where there is one, the database itself is stopped as well. */
const control = process.env.TEST_POSTGRES_CONTROL

// A request may wait 3 s for a connection and then 4 s for its answer; the rest is for a slow machine. A frozen database
// stays so for longer than that: an unbounded wait would end with it.
const boundMs = 10_000
const recoveryMs = 6_000

describeOnPostgres('outages of PostgreSQL', () => {
  const password = 'my dog is called rex'
  let drop: () => Promise<void>
  let url: string
  let proxy: TcpProxy
  let server: ServerProcess
  beforeAll(async () => {
    const database = await createPostgresDatabase(postgresServer)
    drop = database.drop
    url = database.url
    proxy = await createProxy(new URL(url))
    server = await startServer({ DATABASE_URL: proxy.url.href, REFRESH_GRACE_SECONDS: '60' })
  })
  afterAll(async () => {
    await server.end('SIGTERM')
    await proxy.close()
    await drop()
  })

  const post = (path: string, options: Parameters<typeof send>[2]) =>
    send('POST', `${server.url}${path}`, options)
  let users = 0
  const newUser = async () => {
    const body = { email: `user-${++users}@example.com`, password }
    return { body, token: (await post('/auth/register', { body })).refreshToken as string }
  }

  test('a connection cut during a login: 503 with Retry-After, and the server continues [G2]', async () => {
    const { body, token } = await newUser()
    const holder = new pg.Client({ connectionString: url })
    await holder.connect()
    await holder.query('BEGIN')
    await holder.query('SELECT 1 FROM users FOR UPDATE')
    const login = post('/auth/login', { body })
    const isWaiting = async () =>
      (await holder.query('SELECT 1 FROM pg_locks WHERE NOT granted')).rowCount === 1
    while (!(await isWaiting()));

    proxy.cut()
    const answer = await login
    await holder.query('ROLLBACK')
    await holder.end()

    expect(answer).toMatchObject({ status: 503, code: 'unavailable' })
    expect(answer.headers.get('retry-after')).toBe('1')
    expect(answer.refreshToken).toBeUndefined()
    expect((await post('/auth/refresh', { refreshToken: token })).status).toBe(200)
  })

  test('connections cut repeatedly under load: answers 200 or 503 only [G2]', async () => {
    const { body } = await newUser()
    let loggingIn = true
    const loops = Array.from({ length: 8 }, async () => {
      const statuses: number[] = []
      while (loggingIn) statuses.push((await post('/auth/login', { body })).status)
      return statuses
    })
    for (let times = 0; times < 10; times++) {
      await delay(200)
      proxy.cut()
    }
    loggingIn = false
    const statuses = (await Promise.all(loops)).flat()

    expect(new Set(statuses)).toEqual(new Set([200, 503]))
    expect((await send('GET', `${server.url}/readyz`)).status).toBe(200)
  })

  type Outage = [what: string, ms: number, begin: () => Promise<void>, end: () => Promise<void>]
  const controlled = (command: string) => async () =>
    void (await promisify(execFile)(control ?? '', [command, 'postgres']))
  const realOutages: Outage[] = [
    ['killed, the real one', 4_000, controlled('kill'), controlled('up')],
    ['frozen, the real one', 12_000, controlled('freeze'), controlled('up')],
  ]
  test.each<Outage>([
    ['killed', 4_000, () => proxy.kill(), () => proxy.revive()],
    ['frozen', 12_000, () => proxy.freeze(), () => proxy.revive()],
    ...(control ? realOutages : []),
  ])(
    '%s, then back: 503 in bounded time, no 401, no cookie cleared, no logout, recovers by itself [G2]',
    async (_what, outageMs, begin, end) => {
      const answers: { action: string; status: number; ms: number; cleared: boolean }[] = []
      let running = true
      const clients = await Promise.all(
        Array.from({ length: 6 }, async (_, client) => {
          const user = await newUser()
          const timed = async (action: string, options: Parameters<typeof send>[2]) => {
            const startedAt = Date.now()
            const answer = await post(`/auth/${action}`, options)
            const cleared = answer.refreshToken === ''
            answers.push({ action, status: answer.status, ms: Date.now() - startedAt, cleared })
            return answer
          }
          const live = async () => {
            while (running) {
              const refreshed = await timed('refresh', { refreshToken: user.token })
              if (refreshed.status === 200) user.token = refreshed.refreshToken as string
              const login = client < 3 ? await timed('login', { body: user.body }) : undefined
              if (login?.refreshToken) await timed('logout', { refreshToken: login.refreshToken })
              await delay(20)
            }
          }
          return { user, live }
        }),
      )
      const lives = clients.map(({ live }) => live())
      await delay(1000)
      await begin()
      await delay(outageMs)
      const during = answers.filter(({ status }) => status === 503)
      await end()
      const backAt = Date.now()
      while ((await send('GET', `${server.url}/readyz`)).status !== 200) await delay(100)
      const recoveredMs = Date.now() - backAt
      await delay(1000)
      const untilNow = answers.length
      await delay(1000)
      running = false
      await Promise.all(lives)

      expect(during.length).toBeGreaterThan(0)
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 204, 503]))
      expect(Math.max(...answers.map(({ ms }) => ms))).toBeLessThan(boundMs)
      expect(
        answers.filter(({ action, status, cleared }) => cleared && !(action === 'logout' && status === 204)),
      ).toEqual([])
      expect(recoveredMs).toBeLessThan(recoveryMs)
      expect(answers.slice(untilNow).filter(({ status }) => status === 503)).toEqual([])
      for (const { user } of clients)
        expect((await post('/auth/refresh', { refreshToken: user.token })).status).toBe(200)
    },
  )

  test('all connections in use: waits, then 503, and 200 when one is free again [G2]', async () => {
    const users = await Promise.all(Array.from({ length: 15 }, newUser))
    const holder = new pg.Client({ connectionString: url })
    await holder.connect()
    await holder.query('BEGIN')
    await holder.query('LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE')
    const startedAt = Date.now()

    const refused = await Promise.all(
      users.map(({ token }) => post('/auth/refresh', { refreshToken: token })),
    )
    const waitedMs = Date.now() - startedAt
    await holder.query('ROLLBACK')
    await holder.end()

    expect(refused.map(({ status }) => status)).toEqual(users.map(() => 503))
    expect(waitedMs).toBeLessThan(boundMs)
    const served = await Promise.all(users.map(({ token }) => post('/auth/refresh', { refreshToken: token })))
    expect(served.map(({ status }) => status)).toEqual(users.map(() => 200))
  })

  test('holds no connection while it hashes passwords [G2]', async () => {
    const slow = await startServer({ DATABASE_URL: url, BCRYPT_COST: '12' })
    const watcher = new pg.Client({ connectionString: url })
    await watcher.connect()
    const held = async () => {
      const { rows } = await watcher.query(
        `SELECT count(*)::int AS held FROM pg_stat_activity
        WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()`,
      )
      return rows[0].held as number
    }
    const body = { email: 'nobody@example.com', password }
    const logins = Array.from({ length: 10 }, () => send('POST', `${slow.url}/auth/login`, { body }))
    await delay(500)

    const seen: number[] = []
    for (let times = 0; times < 10; times++) {
      seen.push(await held())
      await delay(20)
    }
    await Promise.all(logins)
    await watcher.end()
    await slow.end('SIGTERM')

    // But for the moments in which a login reads or counts.
    expect(seen.filter((count) => count === 0).length).toBeGreaterThan(5)
  })
})
