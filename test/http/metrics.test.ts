import { once } from 'node:events'
import { createServer, METHODS, request as open, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from '@jest/globals'
import request from 'supertest'
import { operatorListener } from '../../src/http/metrics.ts'
import {
  accessSecret,
  login,
  newEmail,
  otherPassword,
  refresh,
  refreshTokenOf,
  register,
  send,
  tryLogin,
  useTestApp,
} from '../support/app.ts'

const t = useTestApp({ LIMIT_LOGIN_ACCOUNT: '2/900' })

let listening: Server | undefined
/** The port that clients cannot reach. */
function operators(): Server {
  listening ??= createServer(
    operatorListener(t.metrics, { droppedLogLines: () => 7, hosts: ['auth-metrics', 'metrics.example.com'] }),
  )
  return listening
}

/** The value of a metric with these labels, 0 where it has not been counted yet. */
async function metric(name: string, labels: Record<string, string>) {
  const { values } = (await t.metrics.registry.getSingleMetric(name)?.get()) ?? { values: [] }
  const found = values.filter(
    ({ labels: own, metricName }: { labels: Record<string, unknown>; metricName?: string }) =>
      (metricName === undefined || metricName === name || metricName === `${name}_count`) &&
      Object.entries(labels).every(([key, value]) => String(own[key]) === value),
  )
  return found.reduce((sum, { value }) => sum + value, 0)
}
const requests = (method: string, route: string, status: number) =>
  metric('http_request_duration_seconds', { method, route, status: String(status) })

test('requests are counted by method, route template and status', async () => {
  const as = await register(t.app)

  await send(t.app, 'GET /users/me', { as })
  await send(t.app, 'GET /users/me')
  await send(t.app, 'DELETE /auth/sessions/AAAAAAAAAAAAAAAAAAAAAA', { as })
  await send(t.app, 'GET /nothing/here')
  await send(t.app, 'PUT /users/me')

  expect(await requests('GET', '/users/me', 200)).toBe(1)
  expect(await requests('GET', '/users/me', 401)).toBe(1)
  expect(await requests('DELETE', '/auth/sessions/:id', 404)).toBe(1)
  expect(await requests('GET', 'none', 404)).toBe(1)
  expect(await requests('other', '/users/me', 405)).toBe(1)
})

test('all methods that no route has are one label [F4]', async () => {
  const server = createServer(t.app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  for (const method of METHODS.filter((name) => name !== 'CONNECT'))
    for (const path of ['/livez', '/users/me', `/${method}`]) {
      const [answer] = await once(open({ port, method, path }).end(), 'response')
      await answer.resume().toArray()
    }
  server.close()

  const { values } = (await t.metrics.registry.getSingleMetric('http_request_duration_seconds')?.get()) ?? {
    values: [],
  }
  const labels = new Set(values.map(({ labels: { method } }: { labels: { method?: unknown } }) => method))
  expect([...labels].sort()).toEqual(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'other'])
})

test('tells the age of each key, by the kind of token and kid', async () => {
  const { access, refresh } = t.metrics.keys()
  const metrics = (await request(operators()).get('/metrics')).text
  const ages = [...metrics.matchAll(/^auth_key_age_seconds\{(.*)\} (\S+)$/gm)].map(([, labels, value]) => [
    labels,
    Number(value) >= 0 && Number(value) < 600,
  ])

  expect(ages.sort()).toEqual(
    [
      [`token="access",kid="${access[0]?.kid}"`, true],
      [`token="refresh",kid="${refresh[0]?.kid}"`, true],
    ].sort(),
  )
})

test('rotations, grace and reuse are counted', async () => {
  const { refreshToken: first } = await register(t.app)
  const second = refreshTokenOf(await refresh(t.app, first))
  await refresh(t.app, first)
  await refresh(t.app, second)
  await refresh(t.app, first)
  await refresh(t.app, second)

  expect(await metric('auth_refreshes_total', { outcome: 'rotated' })).toBe(2)
  expect(await metric('auth_refreshes_total', { outcome: 'graced' })).toBe(1)
  expect(await metric('auth_refreshes_total', { outcome: 'refresh_token_reused' })).toBe(1)
  expect(await metric('auth_refreshes_total', { outcome: 'session_ended' })).toBe(1)
})

test('problems are counted by code, those of the limits among them', async () => {
  const email = newEmail()
  for (let times = 0; times < 5; times++) await tryLogin(t.app, email, otherPassword)

  expect(await metric('auth_problems_total', { code: 'invalid_credentials' })).toBe(2)
  expect(await metric('auth_problems_total', { code: 'too_many_attempts' })).toBe(3)
})

test('the hash queue shows what is running and waiting', async () => {
  const { email } = await register(t.app)
  const logins = Array.from({ length: 20 }, () => login(t.app, email).catch(() => {}))
  let most = 0
  const watch = setInterval(async () => {
    most = Math.max(most, await metric('auth_password_hashes', { state: 'running' }))
  }, 1)
  await Promise.all(logins)
  clearInterval(watch)

  expect(most).toBeGreaterThan(0)
  expect(await metric('auth_password_hashes', { state: 'waiting' })).toBe(0)
})

test('keys: how many in which state, how old their last load is, and how many failed', async () => {
  expect(await metric('auth_keys', { token: 'access', state: 'signing' })).toBe(1)
  expect(await metric('auth_keys', { token: 'refresh', state: 'signing' })).toBe(1)
  expect(await metric('auth_keys_load_age_seconds', {})).toBeLessThan(60)
  expect(await metric('auth_keys_load_failures_total', {})).toBe(0)
})

test('/keys tells operators of the keys, and nothing of the secrets; clients never [E6]', async () => {
  const server = operators()

  const answer = await request(server).get('/keys')

  const key = {
    kid: expect.any(String),
    state: 'signing',
    source: 'environment',
    since: expect.any(Number),
  }
  expect(answer.body).toEqual({
    status: 'ok',
    loadAge: expect.any(Number),
    failures: 0,
    access: [key],
    refresh: [key],
  })
  expect(answer.text).not.toContain(accessSecret)
  expect((await send(t.app, 'GET /keys')).status).toBe(404)
})

test('/metrics: Prometheus text with the process too, no label that a client made up, and nothing else is served', async () => {
  const canary = 'canary-0123456789'
  await tryLogin(t.app, `${canary}@example.com`, canary)
  await send(t.app, `GET /${canary}?${canary}`, { headers: { Cookie: `${canary}=${canary}` } })
  const server = operators()

  const answer = await request(server).get('/metrics')

  expect(answer.status).toBe(200)
  expect(answer.get('Content-Type')).toMatch(/^text\/plain/)
  expect(answer.text).toContain('process_resident_memory_bytes')
  expect(answer.text).toContain('nodejs_eventloop_lag_seconds')
  expect(answer.text).not.toContain('canary')
  expect((await request(server).get('/')).status).toBe(404)
  expect((await request(server).post('/metrics')).status).toBe(404)
  expect((await send(t.app, 'GET /metrics')).status).toBe(404)
})

describe('the port for operators', () => {
  test.each(['127.0.0.1:9100', '10.0.0.7', '[::1]:9100', 'localhost', 'LocalHost:9100', 'auth-metrics:9100'])(
    'answers to the Host %s',
    async (host) => {
      expect((await request(operators()).get('/metrics').set('Host', host)).status).toBe(200)
    },
  )

  test.each([
    'rebound.example:9100',
    'localhost.rebound.example',
    '127.0.0.1.rebound.example',
    'rebound.example#localhost',
    'rebound.example@127.0.0.1',
    'metrics.example.com.',
    'auth-metrics:localhost',
    '[rebound.example]',
    '',
  ])('refuses the Host %j, which a page that rebinds DNS could use [F4]', async (host) => {
    for (const path of ['/metrics', '/keys']) {
      const answer = await request(operators()).get(path).set('Host', host)

      expect(answer.status).toBe(421)
      expect(answer.text).toBe(
        'This host name is not allowed here. Use an IP address, localhost, or a name in METRICS_HOSTS.\n',
      )
    }
  })

  test('says how many log lines were dropped [G8]', async () => {
    expect((await request(operators()).get('/metrics')).text).toContain('\nlog_lines_dropped_total 7\n')
  })
})
