import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, expect, test } from '@jest/globals'
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { newPrivateKey } from '../../../src/secrets/cli/generate.ts'
import { type ServerProcess, send } from '../../support/server.ts'
import { secretsCommand, startStoreServer } from './servers.ts'
import { stores } from './stores.ts'
import { vaultStore } from './vault.ts'

const servers: ServerProcess[] = []
afterAll(() => Promise.all(servers.map((server) => server.end('SIGTERM'))))

const isVaultThere = stores.includes(vaultStore)
const algorithms = isVaultThere ? (['RS256', 'ES256'] as const) : []

// Both at once, as each takes more than the 60 s for which a public key is there before its private key signs.
const rotations = new Map(algorithms.map((algorithm) => [algorithm, acrossARotation(algorithm)]))
for (const rotation of rotations.values()) rotation.catch(() => {}) // Its test tells.

test.each(algorithms)(
  'E3 another service verifies %s tokens by the key set, across a rotation',
  async (algorithm) => {
    const { verified, failures, kids, published } = (await rotations.get(algorithm)) as Verification

    expect(failures).toEqual([])
    expect(verified).toBeGreaterThan(200)
    expect(kids.size).toBe(2)
    // The key that signs next was there for all to see well before it did.
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
  await vaultStore.put(name, newPrivateKey(algorithm))
  const settings = {
    ...vaultStore.environment,
    JWT_ALGORITHM: algorithm,
    JWT_ACCESS_SECRET: '',
    JWT_ACCESS_PRIVATE_KEY: vaultStore.reference(name),
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
