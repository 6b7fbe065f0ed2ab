import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { availableParallelism } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import type request from 'supertest'
import { deviceCookieName, newEmail, password, register, send, tryLogin, useTestApp } from '../support/app.ts'

// Slow enough that tests can look at what waits.
const t = useTestApp({ BCRYPT_COST: '10', TRUST_PROXY: '1' })
let server: Server
let url: string
beforeAll(async () => {
  server = createServer(t.app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})

const hashes = async (state: 'running' | 'waiting') => {
  const { values } = (await t.metrics.registry.getSingleMetric('auth_password_hashes')?.get()) ?? {
    values: [],
  }
  return values.find(({ labels }) => labels.state === state)?.value ?? 0
}
const failedLogins = async () => {
  const [row] = await t.db.rows<{ count: number }>(
    sql`SELECT count(*)::int AS count FROM audit_events WHERE event = 'login_failed'`,
  )
  return row?.count ?? 0
}

test('removes logins of closed connections from the queue, and finishes those that run [G5]', async () => {
  const gone = new AbortController()
  const headers = { 'content-type': 'application/json' }
  const logins = Array.from({ length: 20 }, () =>
    fetch(`${url}/auth/login`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ email: newEmail(), password }),
      signal: gone.signal,
    }).catch(() => undefined),
  )
  while ((await hashes('waiting')) < 10) await delay(5)

  gone.abort()
  await Promise.all(logins)
  while ((await hashes('running')) > 0) await delay(5)

  expect(await hashes('waiting')).toBe(0)
  expect(await failedLogins()).toBeLessThanOrEqual(2 * availableParallelism())
})

test('answers 503 with Retry-After before hashing when the queue is full, and serves refreshes [G5]', async () => {
  const { email, refreshToken } = await register(t.app)
  const logins = Array.from({ length: 40 * availableParallelism() }, () => tryLogin(server, email))
  const answers = Promise.all(logins)
  while ((await hashes('waiting')) < 10) await delay(5)

  const refreshed = await send(t.app, 'POST /auth/refresh', { token: refreshToken })
  const stillWaiting = await hashes('waiting')
  const refused = (await answers).filter(({ status }) => status !== 200)

  expect(refreshed.status).toBe(200)
  expect(stillWaiting).toBeGreaterThan(0)
  expect(refused.length).toBeGreaterThan(0)
  for (const { status, body, headers } of refused) {
    expect({ status, code: body.code }).toEqual({ status: 503, code: 'overloaded' })
    expect(Number(headers['retry-after'])).toBeGreaterThan(0)
  }
})

test('an address that floods with the right password leaves room for logins of others [G5]', async () => {
  const [flooder, other] = [await register(t.app), await register(t.app)]
  const flood = Promise.all(
    Array.from({ length: 40 * availableParallelism() }, () => from('192.0.2.1', flooder.email)),
  )
  while ((await hashes('waiting')) < 10) await delay(5)

  const answer = await from('192.0.2.2', other.email)

  expect(answer.status).toBe(200)
  expect((await flood).some(({ status }) => status === 503)).toBe(true)
})

/** Sends many requests at once without a pause until `meanwhile` ends. Returns the number of answers so far. */
async function underFlood(
  atOnce: number,
  flood: (i: number) => request.Test,
  meanwhile: (hashed: () => number) => Promise<void>,
) {
  let hashed = 0
  let over = false
  const underWay = new Map<number, request.Test>()
  const floods = Array.from({ length: atOnce }, async (_, i) => {
    while (!over) {
      const sending = flood(i)
      underWay.set(i, sending)
      const answer = await sending.catch(() => undefined)
      if (answer?.status === 503) await delay(50)
      else hashed++
    }
  })
  while ((await hashes('waiting')) < atOnce / 2) await delay(5)
  await meanwhile(() => hashed).finally(() => {
    over = true
    for (const sending of underWay.values()) sending.abort()
    return Promise.all(floods)
  })
}

const from = (address: string, email: string, headers = {}) =>
  tryLogin(server, email).set({ 'X-Forwarded-For': address, ...headers })

describe('during a flood of logins with right passwords [G10]', () => {
  test.each([
    ['2 addresses, 2 accounts each, 9 logins of each', 36, (i: number) => `192.0.2.${i % 2}`, 4],
    ['1 account from 12 addresses, 3 logins of each', 36, (i: number) => `192.0.2.${i % 12}`, 1],
    ['1 address, 12 accounts', 36, () => '192.0.2.1', 12],
    ['addresses of one /64', 36, (i: number) => `2001:db8::${i}`, 4],
  ])(
    'a login from another address succeeds within a few turns: %s [G10]',
    async (_what, atOnce, address, accounts) => {
      const flooders = await Promise.all(Array.from({ length: accounts }, () => register(t.app)))
      const others = await Promise.all(Array.from({ length: 4 }, () => register(t.app)))
      const flood = (i: number) => from(address(i), flooders[i % accounts]?.email ?? '')

      await underFlood(atOnce, flood, async (hashed) => {
        for (const [i, { email }] of others.entries()) {
          const before = hashed()
          expect((await from(`198.51.100.${i}`, email)).status).toBe(200)
          expect(hashed() - before).toBeLessThanOrEqual(5)
        }
      })
    },
  )

  test('a known device logs in, even from the address of the flood [G10]', async () => {
    const [flooder, owner] = [await register(t.app), await register(t.app)]
    const { headers } = await from('198.51.100.1', owner.email)
    const cookies = [headers['set-cookie']].flat()
    const device = cookies.find((line) => line?.startsWith(deviceCookieName))?.split(';')[0]

    await underFlood(
      36,
      () => from('192.0.2.1', flooder.email),
      async (hashed) => {
        const before = hashed()
        expect((await from('192.0.2.1', owner.email, { Cookie: device })).status).toBe(200)
        expect(hashed() - before).toBeLessThanOrEqual(5)
      },
    )
  })

  test('logins succeed while one address registers many accounts [G10]', async () => {
    const others = await Promise.all(Array.from({ length: 4 }, () => register(t.app)))
    const registration = () =>
      send(server, 'POST /auth/register', {
        body: { email: newEmail(), password },
        headers: { 'X-Forwarded-For': '192.0.2.1' },
      })

    await underFlood(40, registration, async (hashed) => {
      for (const [i, { email }] of others.entries()) {
        const before = hashed()
        expect((await from(`198.51.100.${i}`, email)).status).toBe(200)
        expect(hashed() - before).toBeLessThanOrEqual(5)
      }
    })
  })
})
