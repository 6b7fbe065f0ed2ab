import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import pg from 'pg'
import { createPostgresDatabase } from '../support/database.ts'
import { describeOnPostgres, postgresServer } from '../support/require-postgres.ts'
import { type ServerProcess, send, startServer } from '../support/server.ts'

jest.setTimeout(60_000)

describeOnPostgres('connections to PostgreSQL that are cut', () => {
  const body = { email: 'ada@example.com', password: 'my dog is called rex' }
  const sockets = new Set<Socket>()
  let drop: () => Promise<void>
  let url: URL
  let proxy: Server
  let server: ServerProcess
  beforeAll(async () => {
    const database = await createPostgresDatabase(postgresServer)
    drop = database.drop
    url = new URL(database.url)
    proxy = createServer((client) => {
      const upstream = connect(Number(url.port), url.hostname)
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(from)
        from.pipe(to)
        from.on('error', () => to.destroy())
        from.on('close', () => sockets.delete(from))
      }
    }).listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    const proxied = new URL(url)
    proxied.port = String((proxy.address() as { port: number }).port)
    server = await startServer({ DATABASE_URL: proxied.href })
  })
  afterAll(async () => {
    await server.end('SIGTERM')
    proxy.close()
    await drop()
  })
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy()
  }

  test('G2 in the middle of a login: 503 with Retry-After, and the server goes on', async () => {
    const registered = await send('POST', `${server.url}/auth/register`, { body })
    const holder = new pg.Client({ connectionString: url.href })
    await holder.connect()
    await holder.query('BEGIN')
    await holder.query('SELECT 1 FROM users FOR UPDATE')
    const login = send('POST', `${server.url}/auth/login`, { body })
    const isWaiting = async () =>
      (await holder.query('SELECT 1 FROM pg_locks WHERE NOT granted')).rowCount === 1
    while (!(await isWaiting()));

    cut()
    const answer = await login
    await holder.query('ROLLBACK')
    await holder.end()

    expect(answer).toMatchObject({ status: 503, code: 'unavailable' })
    expect(answer.headers.get('retry-after')).toBe('1')
    expect(answer.refreshToken).toBeUndefined()
    const refreshed = await send('POST', `${server.url}/auth/refresh`, {
      refreshToken: registered.refreshToken as string,
    })
    expect(refreshed.status).toBe(200)
  })

  test('G2 again and again under load: 200 or 503, never another answer', async () => {
    let loggingIn = true
    const loops = Array.from({ length: 8 }, async () => {
      const statuses: number[] = []
      while (loggingIn) statuses.push((await send('POST', `${server.url}/auth/login`, { body })).status)
      return statuses
    })
    for (let times = 0; times < 10; times++) {
      await new Promise((resolve) => setTimeout(resolve, 200))
      cut()
    }
    loggingIn = false
    const statuses = (await Promise.all(loops)).flat()

    expect(new Set(statuses)).toEqual(new Set([200, 503]))
    expect((await send('GET', `${server.url}/readyz`)).status).toBe(200)
  })
})
