import { createHmac, createPublicKey } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import jwt from 'jsonwebtoken'
import { newPrivateKey } from '../../src/secrets/cli/generate.ts'
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

  test('tokens of the previous key verify [E3]', async () => {
    const { accessToken } = await register(t.app)
    const { set } = await keySet(t)
    const kid = set.keys.find(
      (key) => key.kid !== jwt.decode(accessToken, { complete: true })?.header.kid,
    )?.kid
    const header = { typ: 'at+jwt', alg: algorithm, kid: String(kid) }

    const token = jwt.sign(jwt.decode(accessToken) as object, previous, { header })

    expect((await me(t, token)).status).toBe(200)
  })

  test('a public key is never a shared secret, nor is any other algorithm accepted [A1, A2]', async () => {
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

describe('the second spelling of an ES256 signature', () => {
  let t: TestApp
  beforeAll(async () => {
    t = await createTestApp({
      JWT_ALGORITHM: 'ES256',
      JWT_ACCESS_PRIVATE_KEY: newPrivateKey('ES256'),
      JWT_ACCESS_SECRET: '',
    })
  })
  afterAll(() => t.close())

  /** The order of P-256. If (r, s) signs a message, (r, n - s) signs it too. */
  const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  function respelled(token: string): string {
    const [head, claims, signature = ''] = token.split('.')
    const [r, s] = [0, 64].map((at) =>
      Buffer.from(signature, 'base64url')
        .toString('hex')
        .slice(at, at + 64),
    )
    const other = (n - BigInt(`0x${s}`)).toString(16).padStart(64, '0')
    return `${head}.${claims}.${Buffer.from(`${r}${other}`, 'hex').toString('base64url')}`
  }
  const everything = async () => {
    const tables = ['users', 'sessions', 'attempts', 'audit_events']
    return Promise.all(tables.map((table) => t.db.rows(sql.raw(`SELECT * FROM ${table} ORDER BY 1`))))
  }

  test('names the same session, and leaves no trace of its own [A8]', async () => {
    const { accessToken } = await register(t.app)
    const twin = respelled(accessToken)
    const before = await everything()

    const answers = [await me(t, accessToken), await me(t, twin), await me(t, twin)]

    expect(twin).not.toBe(accessToken)
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
    expect(answers[1]?.body).toEqual(answers[0]?.body)
    expect(await everything()).toEqual(before)
  })

  test.each<[ending: string, asking: string]>([
    ['a logout everywhere that the first asks for', 'first'],
    ['a logout everywhere that the second asks for', 'second'],
  ])('ends with the first by %s [A8]', async (_ending, asking) => {
    const { accessToken } = await register(t.app)
    const twin = respelled(accessToken)

    const as = { accessToken: asking === 'first' ? accessToken : twin }
    await send(t.app, 'POST /auth/logout-all', { as }).expect(204)

    for (const token of [accessToken, twin]) {
      const answer = await me(t, token)
      expect([answer.status, answer.body.code]).toEqual([401, 'session_ended'])
    }
  })

  test('expires with the first [A8]', async () => {
    const { accessToken } = await register(t.app)
    await t.pass(901)

    const answer = await me(t, respelled(accessToken))

    expect([answer.status, answer.body.code]).toEqual([401, 'access_token_expired'])
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
