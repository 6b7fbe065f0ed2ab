import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, expect, test } from '@jest/globals'
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { newPrivateKey } from '../../../src/secrets/cli/generate.ts'
import { type ServerProcess, send } from '../../support/server.ts'
import { secretsCommand, startStoreServer } from './servers.ts'
import { stores } from './stores.ts'

const servers: ServerProcess[] = []
afterAll(() => Promise.all(servers.map((server) => server.end('SIGTERM'))))

// Any store will do.
const [store] = stores
const algorithms = store ? (['RS256', 'ES256'] as const) : []

// Both run at the same time. Each takes more than 60 s, because a public key is published for so long before it signs.
const rotations = new Map(algorithms.map((algorithm) => [algorithm, acrossARotation(algorithm)]))
for (const rotation of rotations.values()) rotation.catch(() => {}) // Its test reports the error.

test.each(algorithms)(
  'another service verifies %s tokens by the key set, across a rotation [E3]',
  async (algorithm) => {
    const { verified, failures, kids, published } = (await rotations.get(algorithm)) as Verification

    expect(failures).toEqual([])
    expect(verified).toBeGreaterThan(200)
    expect(kids.size).toBe(2)
    // The next key was published well before it signed.
    expect(published).toBeGreaterThan(60)
  },
)

interface Verification {
  verified: number
  failures: string[]
  kids: Set<string | undefined>
  published: number
}

async function acrossARotation(algorithm: 'RS256' | 'ES256'): Promise<Verification> {
  const name = `jwks-${randomUUID()}`
  if (!store) throw new Error('No store is running.')
  await store.put(name, newPrivateKey(algorithm))
  const settings = {
    ...store.environment,
    JWT_ALGORITHM: algorithm,
    JWT_ACCESS_SECRET: '',
    JWT_ACCESS_PRIVATE_KEY: store.reference(name),
    JWT_REFRESH_SECRET: randomBytes(48).toString('base64url'),
    SECRETS_REFRESH_SECONDS: '1',
  }
  const server = await startStoreServer(settings)
  servers.push(server)
  const keySet = createRemoteJWKSet(new URL(`${server.url}/.well-known/jwks.json`))
  const expected = { issuer: server.url, audience: server.url, algorithms: [algorithm], typ: 'at+jwt' }
  const result = { verified: 0, failures: [] as string[], kids: new Set<string | undefined>(), published: 0 }

  const body = { email: `${randomUUID()}@example.com`, password: 'my dog is called rex' }
  let answer = await send('POST', `${server.url}/auth/register`, { body })
  await secretsCommand(['rotate', 'JWT_ACCESS_PRIVATE_KEY'], settings)
  let publishedAt = Number.POSITIVE_INFINITY
  for (const end = Date.now() + 75_000; Date.now() < end; await delay(200)) {
    answer = await send('POST', `${server.url}/auth/refresh`, { refreshToken: String(answer.refreshToken) })
    const { kid } = decodeProtectedHeader(answer.accessToken)
    if (result.kids.size === 1 && !result.kids.has(kid)) result.published = (Date.now() - publishedAt) / 1000
    result.kids.add(kid)
    const { body: set } = await send('GET', `${server.url}/.well-known/jwks.json`)
    if ((set.keys as unknown[]).length === 2) publishedAt = Math.min(publishedAt, Date.now())
    await jwtVerify(answer.accessToken, keySet, expected).then(
      () => result.verified++,
      (error) => result.failures.push(String(error)),
    )
  }
  return result
}
