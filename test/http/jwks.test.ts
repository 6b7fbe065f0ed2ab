import { createHmac, createPublicKey } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import jwt from 'jsonwebtoken'
import { newPrivateKey } from '../../src/secrets/generate.ts'
import { createTestApp, publicUrl, refresh, register, send, type TestApp } from '../support/app.ts'

const keySet = async (t: TestApp) => {
  const answer = await send(t.app, 'GET /.well-known/jwks.json')
  return { ...answer, set: answer.body as JSONWebKeySet }
}
const me = (t: TestApp, token: string) =>
  send(t.app, 'GET /users/me', { headers: { Authorization: `Bearer ${token}` } })

describe.each(['RS256', 'ES256'] as const)('access tokens signed by a private key, %s', (algorithm) => {
  const [current, previous] = [newPrivateKey(algorithm), newPrivateKey(algorithm)]
  let t: TestApp
  beforeAll(async () => {
    t = await createTestApp({
      JWT_ALGORITHM: algorithm,
      JWT_ACCESS_PRIVATE_KEY: current,
      JWT_ACCESS_PRIVATE_KEY_PREVIOUS: previous.replaceAll('\n', '\\n'),
      JWT_ACCESS_SECRET: '',
    })
  })
  afterAll(() => t.close())

  test('others verify them by the key set alone, and this server does too', async () => {
    const { accessToken } = await register(t.app)
    const { set } = await keySet(t)

    const { protectedHeader, payload } = await jwtVerify(accessToken, createLocalJWKSet(set), {
      issuer: publicUrl,
      audience: publicUrl,
      typ: 'at+jwt',
      algorithms: [algorithm],
    })

    expect(protectedHeader).toEqual({ typ: 'at+jwt', alg: algorithm, kid: expect.any(String) })
    expect(payload.sub).toEqual(expect.any(String))
    expect((await me(t, accessToken)).status).toBe(200)
  })

  test('the key set has every key that verifies, public halves only, for 30 s', async () => {
    const { set, headers } = await keySet(t)

    expect(set.keys).toHaveLength(2)
    for (const key of set.keys) expect(key).not.toHaveProperty('d')
    expect(JSON.stringify(set)).not.toMatch(/"(d|p|q|dp|dq|qi|k)":/)
    expect(headers['cache-control']).toBe('public, max-age=30')
  })

  test('refresh tokens stay HS256', async () => {
    const { refreshToken } = await register(t.app)

    expect(jwt.decode(refreshToken, { complete: true })?.header.alg).toBe('HS256')
    expect((await refresh(t.app, refreshToken)).status).toBe(200)
  })

  test('E3 tokens of the previous key verify', async () => {
    const { accessToken } = await register(t.app)
    const { set } = await keySet(t)
    const kid = set.keys.find(
      (key) => key.kid !== jwt.decode(accessToken, { complete: true })?.header.kid,
    )?.kid
    const header = { typ: 'at+jwt', alg: algorithm, kid: String(kid) }

    const token = jwt.sign(jwt.decode(accessToken) as object, previous, { header })

    expect((await me(t, token)).status).toBe(200)
  })

  test('A1 A2 a public key is never a shared secret, nor is any other algorithm accepted', async () => {
    const { accessToken } = await register(t.app)
    const { header, payload } = jwt.decode(accessToken, { complete: true }) as jwt.Jwt
    const publicPem = createPublicKey(current).export({ type: 'spki', format: 'pem' }).toString()
    const [head] = accessToken.split('.')
    const other = newPrivateKey(algorithm === 'RS256' ? 'ES256' : 'RS256')
    const forged = [
      hmac({ ...header, alg: 'HS256' }, payload, publicPem),
      hmac({ ...header, alg: 'HS256' }, payload, publicPem.trim()),
      hmac({ ...header }, payload, publicPem),
      jwt.sign(payload as object, other, {
        header: { ...header, alg: algorithm === 'RS256' ? 'ES256' : 'RS256' },
      }),
      ...(algorithm === 'RS256'
        ? (['RS512', 'PS256'] as const).map((alg) =>
            jwt.sign(payload as object, current, { header: { ...header, alg }, algorithm: alg }),
          )
        : []),
      `${Buffer.from(JSON.stringify({ ...header, alg: 'none' })).toString('base64url')}.${accessToken.split('.')[1]}.`,
      `${head}.${accessToken.split('.')[1]}.`,
    ]

    for (const token of forged) {
      const answer = await me(t, token)
      expect([answer.status, answer.body.code]).toEqual([401, 'access_token_invalid'])
    }
  })
})

test('under HS256 the key set is empty', async () => {
  const t = await createTestApp()
  const { set } = await keySet(t)
  await t.close()

  expect(set).toEqual({ keys: [] })
})

function hmac(header: object, payload: unknown, secret: string): string {
  const input = [header, payload]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}
