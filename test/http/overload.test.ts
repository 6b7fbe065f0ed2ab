import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { availableParallelism } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import { newEmail, password, register, send, tryLogin, useTestApp } from '../support/app.ts'

// So slow that there is time to look at what waits.
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

test('G5 logins whose clients have gone leave the queue unhashed, and those that run are done', async () => {
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

test('G5 more than the queue holds: 503 overloaded with Retry-After, before anything is hashed; a refresh is served', async () => {
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

test('G5 one address that floods with the right password does not get the whole queue: another logs in', async () => {
  const [flooder, other] = [await register(t.app), await register(t.app)]
  const from = (address: string, email: string) => tryLogin(server, email).set('X-Forwarded-For', address)
  const flood = Promise.all(
    Array.from({ length: 40 * availableParallelism() }, () => from('192.0.2.1', flooder.email)),
  )
  while ((await hashes('waiting')) < 10) await delay(5)

  const answer = await from('192.0.2.2', other.email)

  expect(answer.status).toBe(200)
  expect((await flood).some(({ status }) => status === 503)).toBe(true)
})
