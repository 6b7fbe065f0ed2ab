import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, test } from '@jest/globals'
import { residentMegabytes, type ServerProcess, send, startServer } from '../../support/server.ts'

const credentials = { email: 'ada@example.com', password: 'my dog is called rex' }

/** As in production, where a server says for a while that it is not ready before it stops listening. */
const production = {
  NODE_ENV: 'production',
  PUBLIC_URL: 'http://localhost:3000',
  COOKIE_SECURE: 'false',
  BCRYPT_COST: '12',
}

/** A raw connection, with what was received on it so far. */
async function open({ url }: ServerProcess, text = ''): Promise<{ socket: Socket; received: () => string }> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  let received = ''
  socket.setEncoding('latin1').on('data', (chunk) => {
    received += chunk
  })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(text)
  return { socket, received: () => received }
}

/** A raw connection whose answers stay unread until a test reads them. */
async function openUnread({ url }: ServerProcess, text: string): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.pause()
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

/** Reads so many bytes more, or until the connection ends. */
async function readToEnd(socket: Socket, most: number): Promise<number> {
  let bytes = 0
  socket.resume().on('data', (chunk) => {
    bytes += chunk.length
    if (bytes >= most) socket.destroy()
  })
  if (!socket.closed) await once(socket, 'close')
  return bytes
}

/** The connections and files that a server has open. */
const openFiles = ({ process: { pid } }: ServerProcess) => readdirSync(`/proc/${pid}/fd`).length

const post = (path: string, headers: string, body: string) =>
  `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${headers}\r\n\r\n${body}`

describe('SIGTERM', () => {
  test('fails no request under load: the server is unready first, and answers what it accepted [G1]', async () => {
    const server = await startServer(production)
    const { accessToken } = await send('POST', `${server.url}/auth/register`, { body: credentials })
    const answers: number[] = []
    // A balancer sends requests for as long as the server calls itself ready.
    let ready = true
    const watch = async () => {
      while (ready) {
        ready = (await send('GET', `${server.url}/readyz`)).status === 200
        await delay(50)
      }
    }
    const load = async (request: () => Promise<{ status: number }>) => {
      while (ready) answers.push((await request()).status)
    }
    const me = () => send('GET', `${server.url}/users/me`, { accessToken })
    const login = () => send('POST', `${server.url}/auth/login`, { body: credentials })
    const clients = [watch(), ...Array.from({ length: 16 }, () => load(me)), load(login), load(login)]
    await delay(1500)

    const stoppedAt = Date.now()
    const exit = await server.end('SIGTERM')
    await Promise.all(clients)

    expect(ready).toBe(false)
    expect(new Set(answers)).toEqual(new Set([200]))
    expect(exit).toMatchObject({ code: 0, stderr: '' })
    expect(Date.now() - stoppedAt).toBeLessThan(10_000)
  })

  test('answers a running login, also if the server stops listening at once [G1]', async () => {
    const server = await startServer({ BCRYPT_COST: '13' })
    await send('POST', `${server.url}/auth/register`, { body: credentials })
    const login = send('POST', `${server.url}/auth/login`, { body: credentials })
    await delay(100)

    const exit = server.end('SIGTERM')

    expect((await login).status).toBe(200)
    expect((await exit).code).toBe(0)
  })

  test('ends within 10 seconds, despite idle connections and a stalled upload [G1]', async () => {
    const server = await startServer(production)
    const silent = await open(server)
    const idle = await open(server, 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n')
    const stalled = await open(server, post('/auth/login', 'Content-Length: 100', '{"email":'))
    const halfHeaders = await open(server, 'GET /livez HTTP/1.1\r\nHo')
    while (!idle.received().includes('{"status":"ok"}')) await delay(10)
    const stoppedAt = Date.now()

    const exit = await server.end('SIGTERM')

    expect(exit.code).toBe(0)
    expect(Date.now() - stoppedAt).toBeLessThan(10_500)
    for (const { socket } of [silent, idle, stalled, halfHeaders])
      if (!socket.closed) await once(socket, 'close')
  })
})

test.each(['SIGTERM', 'SIGINT'] as const)(
  'logs %s, draining and the end on one line each [G1]',
  async (signal) => {
    const server = await startServer({ LOG_LEVEL: 'info' })

    const { stdout } = await server.end(signal)

    const lines = stdout.split('\n').map((line) => JSON.parse(line))
    expect(lines.slice(-3)).toMatchObject([
      { level: 30, msg: `${signal} received`, signal },
      {
        level: 30,
        msg: 'Draining. The server accepts no new connections and answers the requests in flight.',
      },
      { level: 30, msg: 'stopped', code: 0, seconds: expect.any(Number) },
    ])
  },
)

test('a draining server logs its 503s without a warning [G1]', async () => {
  const server = await startServer({ ...production, LOG_LEVEL: 'info' })
  const before = server.output.length
  const exit = server.end('SIGTERM')
  let status = 200
  while (status === 200) status = (await send('GET', `${server.url}/readyz`)).status

  const lines = (await exit).stdout
    .split('\n')
    .map((line) => JSON.parse(line))
    .slice(before)

  expect(status).toBe(503)
  expect(lines).toContainEqual(expect.objectContaining({ level: 30, res: { statusCode: 503 } }))
  expect(lines.filter(({ level }) => level > 30)).toEqual([])
})

describe('slow and greedy clients', () => {
  test('closes connections whose headers take over 10 s or whose body takes over 20 s, and serves others [F3]', async () => {
    const server = await startServer({})
    const openedAt = Date.now()
    const closedAfter = async ({ socket }: { socket: Socket }) => {
      await once(socket, 'close')
      return (Date.now() - openedAt) / 1000
    }
    const headers = await open(server, 'POST /auth/login HTTP/1.1\r\nHost: localhost\r\n')
    const drip = setInterval(() => headers.socket.write('X-More: 1\r\n'), 1000)
    const body = await open(server, post('/auth/login', 'Content-Length: 1000', '{'))
    const bodyDrip = setInterval(() => body.socket.write(' '), 1000)

    const served = await send('GET', `${server.url}/livez`)
    const [headersAfter, bodyAfter] = await Promise.all([closedAfter(headers), closedAfter(body)])
    clearInterval(drip)
    clearInterval(bodyDrip)
    await server.end('SIGTERM')

    expect(served.status).toBe(200)
    expect(headersAfter).toBeGreaterThan(9)
    expect(headersAfter).toBeLessThan(13)
    expect(bodyAfter).toBeGreaterThan(19)
    expect(bodyAfter).toBeLessThan(23)
    expect(headers.received()).toMatch(/^HTTP\/1\.1 408 /)
    expect(body.received()).toMatch(/^HTTP\/1\.1 408 /)
  })

  test('refuses connections over 10,000, and accepts new ones when others have closed [F3]', async () => {
    const server = await startServer({})
    const sockets: Socket[] = []
    for (let opened = 0; opened < 10_000; opened += 500)
      sockets.push(
        ...(await Promise.all(Array.from({ length: 500 }, () => open(server)))).map(({ socket }) => socket),
      )

    await expect(send('GET', `${server.url}/livez`)).rejects.toThrow()
    for (const socket of sockets.splice(0, 100)) socket.destroy()
    await delay(200)
    const served = await send('GET', `${server.url}/livez`)
    for (const socket of sockets) socket.destroy()
    await server.end('SIGTERM')

    expect(served.status).toBe(200)
  })

  test('closes the connections of clients that do not read, which hold no memory, but not of one that reads slowly [F3]', async () => {
    const server = await startServer({})
    const file = await fetch(`${server.url}/docs/swagger-ui-bundle.js`)
    const size = 8 * (await file.arrayBuffer()).byteLength
    const requests = 'GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(8)
    const slow = await openUnread(server, requests)
    const [memory, files] = [residentMegabytes(server), openFiles(server)]
    const stalled = await Promise.all(Array.from({ length: 100 }, () => openUnread(server, requests)))
    while (openFiles(server) < files + stalled.length) await delay(100)
    const added = residentMegabytes(server) - memory

    let taken = 0
    while (openFiles(server) > files) {
      taken += slow.read()?.length ?? 0
      await delay(1000)
    }
    taken += await readToEnd(slow, size - taken)
    const received = await Promise.all(stalled.map((socket) => readToEnd(socket, size)))
    await server.end('SIGTERM')

    expect(added).toBeLessThan(100)
    expect(taken).toBeGreaterThanOrEqual(size)
    for (const bytes of received) expect(bytes).toBeLessThan(size)
  })

  test('reads headers after thousands of others, because a proxy may have added them', async () => {
    const server = await startServer({})
    const { socket, received } = await open(
      server,
      `GET /livez HTTP/1.1\r\nHost: localhost\r\n${'a:\r\n'.repeat(2500)}Host: other\r\nConnection: close\r\n\r\n`,
    )
    await once(socket, 'close')
    await server.end('SIGTERM')

    expect(received()).toMatch(/^HTTP\/1\.1 400 /)
  })

  test('keeps idle connections longer than proxies do, which is usually 60 s [F3]', async () => {
    const server = await startServer({})
    const { socket, received } = await open(server, 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n')
    while (!received().includes('{"status":"ok"}')) await delay(10)
    socket.destroy()
    await server.end('SIGTERM')

    expect(Number(/Keep-Alive: timeout=(\d+)/.exec(received())?.[1])).toBeGreaterThan(60)
  })
})

describe('an unexpected error', () => {
  test.each([
    ['thrown', "throw new Error('planted')"],
    ['of a promise nobody awaits', "Promise.reject(new Error('planted'))"],
  ])('%s: logs one line and exits with 1 [G7]', async (_what, statement) => {
    const plant = `data:text/javascript,process.on('SIGUSR2', () => { ${statement} })`
    const server = await startServer({ NODE_OPTIONS: `--import="${plant}"` })

    const exit = await server.end('SIGUSR2')

    expect(exit).toMatchObject({ code: 1, stderr: '' })
    expect(JSON.parse(exit.stdout.split('\n').at(-1) ?? '')).toMatchObject({
      level: 60,
      err: { message: 'planted' },
    })
  })
})
