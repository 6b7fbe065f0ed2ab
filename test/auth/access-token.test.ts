import {
  createHmac,
  createSecretKey,
  generateKeyPairSync,
  KeyObject,
  randomBytes,
  sign as signWith,
} from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import { jwtVerify } from 'jose'
import jwt from 'jsonwebtoken'
import { pino } from 'pino'
import request from 'supertest'
import { createAccessTokens } from '../../src/auth/access-token.ts'
import { createRefreshTokens } from '../../src/auth/refresh-token.ts'
import { compose } from '../../src/compose.ts'
import { ConfigError, loadConfig } from '../../src/config.ts'
import { createKeyring } from '../../src/secrets/keyring.ts'
import type { TokenKeys } from '../../src/secrets/keys.ts'
import {
  accessSecret,
  bearer,
  type Client,
  cookie,
  createTestApp,
  forge,
  newEmail,
  password,
  publicUrl,
  refreshSecret,
  register,
  sign,
  type TestApp,
  testEnvironment,
} from '../support/app.ts'

type Members = Record<string, unknown>

let t: TestApp
let server: http.Server
let client: Client
let header: Members
let claims: Members & { iat: number; exp: number }

beforeAll(async () => {
  t = await createTestApp()
  client = await register(t.app)
  ;({ header, claims } = partsOf(client.accessToken))
  server = await listening(http.createServer(t.app))
})
afterAll(async () => {
  server.close()
  await t.close()
})

function listening(on: http.Server) {
  return new Promise<http.Server>((done) => void on.listen(0, '127.0.0.1', () => done(on)))
}
const portOf = (on: http.Server) => (on.address() as AddressInfo).port

function partsOf(token: string) {
  const { header, payload } = jwt.decode(token, { complete: true }) as jwt.Jwt
  return { header: { ...header } as Members, claims: payload as Members & { iat: number; exp: number } }
}

const withHeader = (change: Members) => forge(accessSecret, { ...header, ...change }, claims)
const withClaims = (change: Members) => forge(accessSecret, header, { ...claims, ...change })
const encode = (part: unknown) => Buffer.from(JSON.stringify(part)).toString('base64url')
const unsigned = (alg: unknown) => `${encode({ ...header, alg })}.${encode(claims)}`
const now = () => Math.floor(Date.now() / 1000)

const getMe = (authorization: string) => request(server).get('/users/me').set('Authorization', authorization)

const sessionRow = async ({ sessionId }: Client) => {
  const [row] = await t.db.rows(sql`SELECT * FROM sessions WHERE id = ${sessionId}`)
  return row
}

const wordsOfLibraries =
  /jwt|jws|signature|malformed|audience|algorithm|issuer|subject|syntax|not active|zod/i

/** A 401 that says what the contract says and no more. */
function expectRefusal(response: request.Response, code: string) {
  expect(response.body.code).toBe(code)
  expect(response.status).toBe(401)
  expect(response.type).toBe('application/problem+json')
  expect(response.get('WWW-Authenticate')).toBe(
    code === 'access_token_missing' ? 'Bearer' : 'Bearer error="invalid_token"',
  )
  expect(Object.keys(response.body).sort()).toEqual([
    'code',
    'detail',
    'requestId',
    'status',
    'title',
    'type',
  ])
  expect(response.text).not.toMatch(wordsOfLibraries)
}

async function expectInvalid(token: string) {
  const before = await sessionRow(client)

  const response = await getMe(`Bearer ${token}`)

  expectRefusal(response, 'access_token_invalid')
  expect(await sessionRow(client)).toEqual(before)
}

async function expectAccepted(token: string) {
  const response = await getMe(`Bearer ${token}`)
  expect(response.status).toBe(200)
  expect(response.body.id).toBe(client.userId)
}

describe('an access token as it is issued', () => {
  test('is a JWT by RFC 9068 with the claims of the contract and no others', () => {
    expect(header).toEqual({ typ: 'at+jwt', alg: 'HS256', kid: expect.stringMatching(/^[\w-]{16}$/) })
    expect(claims).toEqual({
      iss: publicUrl,
      aud: publicUrl,
      sub: client.userId,
      client_id: 'first-party',
      sid: client.sessionId,
      role: 'user',
      jti: expect.stringMatching(/^[\w-]{20,}$/),
      iat: expect.any(Number),
      exp: claims.iat + 900,
    })
    expect(Math.abs(claims.iat - now())).toBeLessThan(60)
  })

  test('is verified by jose with the secret, before and after the session was ended', async () => {
    const { accessToken, refreshToken, email } = await register(t.app)
    await request(t.app).post('/auth/logout').set('Cookie', cookie(refreshToken)).expect(204)

    const verified = await jwtVerify(accessToken, createSecretKey(accessSecret, 'utf8'), {
      issuer: publicUrl,
      audience: publicUrl,
      typ: 'at+jwt',
      algorithms: ['HS256'],
      requiredClaims: ['sub', 'client_id', 'jti', 'iat', 'exp'],
    })

    expect(JSON.stringify(verified.payload)).not.toContain(email)
  })

  test('has an id of its own', async () => {
    const other = partsOf((await register(t.app)).accessToken)

    expect(other.claims.jti).not.toBe(claims.jti)
  })

  test('lives as long as is configured, which is what expiresIn says, and is for the audience configured', async () => {
    const config = await loadConfig({
      ...testEnvironment,
      ACCESS_TOKEN_SECONDS: '60',
      JWT_AUDIENCE: 'https://api.example.com',
    })
    const other = await compose(config, pino({ level: 'silent' }), {
      database: { ...t.db.database, close: async () => {} },
    })
    try {
      const answer = await request(other.app('https://auth.example.com'))
        .post('/auth/register')
        .send({ email: newEmail(), password })
        .expect(201)
      const issued = partsOf(answer.body.accessToken).claims

      expect(answer.body).toMatchObject({ tokenType: 'Bearer', expiresIn: 60 })
      expect(issued.exp - issued.iat).toBe(60)
      expect(issued).toMatchObject({ aud: 'https://api.example.com', iss: 'https://auth.example.com' })
    } finally {
      await other.close()
    }
  })

  test('stops at routes of this server as soon as its session has ended', async () => {
    const leaver = await register(t.app)
    await getMe(bearer(leaver)).expect(200)
    await request(t.app).post('/auth/logout').set('Cookie', cookie(leaver.refreshToken)).expect(204)

    const response = await getMe(bearer(leaver))

    expectRefusal(response, 'session_ended')
    expect(await sessionRow(leaver)).toMatchObject({ end_reason: 'logout' })
  })

  test('re-signed without a change is accepted, so what the tests below change is what is refused', async () => {
    const again = forge(accessSecret, header, claims)

    expect(again).toBe(client.accessToken)
    await expectAccepted(again)
  })
})

describe('A1 one pinned algorithm', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicPem = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const signatures: Record<string, (input: string) => string> = {
    HS384: (input) => createHmac('sha384', accessSecret).update(input).digest('base64url'),
    HS512: (input) => createHmac('sha512', accessSecret).update(input).digest('base64url'),
    RS256: (input) => signWith('sha256', Buffer.from(input), rsa.privateKey).toString('base64url'),
    PS256: (input) =>
      signWith('sha256', Buffer.from(input), { key: rsa.privateKey, padding: 6, saltLength: 32 }).toString(
        'base64url',
      ),
    ES256: (input) =>
      signWith('sha256', Buffer.from(input), { key: ec.privateKey, dsaEncoding: 'ieee-p1363' }).toString(
        'base64url',
      ),
  }

  test.each(['none', 'NONE', 'None', 'nOnE', ''])('A1 refuses alg "%s" without a signature', (alg) =>
    expectInvalid(`${unsigned(alg)}.`),
  )

  test.each([
    ['none'],
    ['nOnE'],
    ['HS384'],
    ['HS512'],
    ['RS256'],
    ['ES256'],
    ['PS256'],
    ['hs256'],
    ['HS256 '],
    [''],
    [['HS256']],
    [['none', 'HS256']],
    [{ toString: 'HS256' }],
    [null],
    [256],
    [undefined],
  ])('A1 refuses alg %j though the HS256 signature is true', (alg) =>
    expectInvalid(sign(unsigned(alg), accessSecret)),
  )

  test.each(Object.keys(signatures))('A1 refuses alg %s though the signature is true for it', (alg) =>
    expectInvalid(`${unsigned(alg)}.${signatures[alg]?.(unsigned(alg))}`),
  )

  test.each(['HS256', 'RS256'])('A1 refuses alg %s signed by HMAC with a public key as the secret', (alg) =>
    expectInvalid(sign(unsigned(alg), publicPem)),
  )

  test('A1 refuses a signature by another secret', () => expectInvalid(forge(refreshSecret, header, claims)))

  test.each(['header', 'claims'])('A1 refuses a change of the %s under the old signature', (part) => {
    const [head, body, signature] = client.accessToken.split('.')
    return expectInvalid(
      part === 'header'
        ? `${encode({ ...header, typ: 'at+jwt', cty: 'x' })}.${body}.${signature}`
        : `${head}.${encode({ ...claims, role: 'admin' })}.${signature}`,
    )
  })
})

describe('A2 typed keys', () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

  test('A2 keys are secret KeyObjects, which no asymmetric algorithm takes', () => {
    const keyring = createKeyring({ refreshSeconds: 60, tokenSeconds: 900, clock: Date.now })
    keyring.update([{ value: accessSecret, createdAt: 0 }], [])

    const key = keyring.verificationKey(String(header.kid))

    expect(key).toBeInstanceOf(KeyObject)
    expect(key?.type).toBe('secret')
  })

  test.each([
    ['PEM', publicKey.export({ type: 'spki', format: 'pem' }).toString()],
    ['JWK', JSON.stringify(publicKey.export({ format: 'jwk' }))],
    ['JWK of a shared secret', JSON.stringify({ kty: 'oct', k: randomBytes(48).toString('base64url') })],
  ])('A2 a %s as the shared secret stops the start', async (_name, JWT_ACCESS_SECRET) => {
    const start = loadConfig({ ...testEnvironment, JWT_ACCESS_SECRET })

    await expect(start).rejects.toThrow(ConfigError)
    await expect(start).rejects.toThrow(/^JWT_ACCESS_SECRET: is a PEM or JWK key/)
  })
})

describe('A3 keys come from the keyring only', () => {
  const fetched: (string | undefined)[] = []
  const keyHost = http.createServer((req, res) => {
    fetched.push(req.url)
    res.setHeader('Content-Type', 'application/json').end(JSON.stringify({ keys: [ownJwk] }))
  })
  const ownSecret = randomBytes(48).toString('base64url')
  const ownJwk = { kty: 'oct', kid: 'own', alg: 'HS256', k: Buffer.from(ownSecret).toString('base64url') }
  const hostUrl = () => `http://127.0.0.1:${portOf(keyHost)}/keys`
  beforeAll(() => listening(keyHost))
  afterAll(() => void keyHost.close())

  const members: [string, () => Members][] = [
    ['jwk', () => ({ jwk: ownJwk })],
    ['jku', () => ({ jku: hostUrl() })],
    ['x5u', () => ({ x5u: hostUrl() })],
    ['x5c', () => ({ x5c: [Buffer.from('certificate').toString('base64')] })],
  ]

  test.each(members)('A3 refuses %s, whoever signed', async (_name, member) => {
    await expectInvalid(withHeader(member()))
    await expectInvalid(forge(ownSecret, { ...header, ...member() }, claims))
    await expectInvalid(forge(ownSecret, { ...header, ...member(), kid: 'own' }, claims))

    expect(fetched).toEqual([])
  })

  test.each([
    ['__proto__'],
    ['constructor'],
    ['toString'],
    ['../../etc/passwd'],
    ["' OR 1=1 --"],
    ['a\0b'],
    ['unknown'],
    [''],
    [0],
    [1],
    [null],
    [undefined],
    [['kid']],
    [{ kid: 'kid' }],
  ])('A3 refuses kid %j though the signature is true', (kid) => expectInvalid(withHeader({ kid })))

  test('A3 refuses the kid of the other kind, and one that only a prototype would have', async () => {
    const { header: other } = partsOf(client.refreshToken)
    const inherited = `{"alg":"HS256","typ":"at+jwt","__proto__":${JSON.stringify({ kid: header.kid })}}`

    await expectInvalid(withHeader({ kid: other.kid }))
    await expectInvalid(
      sign(`${Buffer.from(inherited).toString('base64url')}.${encode(claims)}`, accessSecret),
    )
  })
})

describe('A4 crit', () => {
  test.each([
    [{ crit: ['exp'] }],
    [{ crit: ['exp'], exp: 1 }],
    [{ crit: ['b64'], b64: true }],
    [{ crit: ['b64'], b64: false }],
    [{ crit: ['urn:example:unknown'], 'urn:example:unknown': true }],
    [{ crit: ['alg'] }],
    [{ crit: [] }],
    [{ crit: 'exp' }],
    [{ crit: {} }],
    [{ crit: null }],
  ])('A4 refuses %j', (member) => expectInvalid(withHeader(member)))
})

describe('A5 the kind of a token', () => {
  test.each([
    [undefined],
    [null],
    [''],
    ['JWT'],
    ['jwt'],
    ['AT+JWT'],
    ['At+Jwt'],
    ['rt+jwt'],
    ['at+jwt '],
    [['at+jwt']],
    [1],
  ])('A5 refuses typ %j', (typ) => expectInvalid(withHeader({ typ })))

  test('A5 a refresh token is no access token', () => expectInvalid(client.refreshToken))

  test('A5 a refresh token signed with the key of access tokens is none either', async () => {
    const refresh = partsOf(client.refreshToken)

    await expectInvalid(forge(accessSecret, { ...refresh.header, kid: header.kid }, refresh.claims))
    await expectInvalid(forge(accessSecret, header, refresh.claims))
  })

  test('A5 the typ alone refuses what has the claims of both kinds', async () => {
    const both = { ...partsOf(client.refreshToken).claims, ...claims }

    await expectAccepted(forge(accessSecret, header, both))
    await expectInvalid(forge(accessSecret, { ...header, typ: 'rt+jwt' }, both))
  })

  test('A5 each kind fails as the other where the keys are the same', async () => {
    const key = createSecretKey(randomBytes(32))
    const keys: TokenKeys = { signingKey: () => ({ kid: 'one', key }), verificationKey: async () => key }
    const accessTokens = createAccessTokens({
      keys,
      issuer: publicUrl,
      audience: `${publicUrl}/auth/refresh`,
      lifetimeSeconds: 900,
      clock: Date.now,
      randomId: () => 'id',
    })
    const refreshTokens = createRefreshTokens({ keys, issuer: publicUrl, clock: Date.now })
    const at = new Date()
    const accessToken = accessTokens.signer()({
      userId: client.userId,
      sessionId: client.sessionId,
      role: 'user',
    })
    const refreshToken = refreshTokens.signer()({
      id: client.sessionId,
      userId: client.userId,
      generation: 1,
      rotatedAt: at,
      createdAt: at,
      usableUntil: new Date(at.getTime() + 600_000),
      userAgent: null,
      ip: null,
    })

    expect(await accessTokens.verify(accessToken)).toMatchObject({ userId: client.userId })
    expect(await refreshTokens.verify(refreshToken)).toMatchObject({ userId: client.userId })
    await expect(accessTokens.verify(refreshToken)).rejects.toMatchObject({ code: 'access_token_invalid' })
    expect(await refreshTokens.verify(accessToken)).toBeUndefined()
  })
})

describe('A6 claims', () => {
  test.each(['iss', 'aud', 'sub', 'client_id', 'sid', 'role', 'jti', 'iat', 'exp'])(
    'A6 refuses a token without %s',
    (name) => expectInvalid(withClaims({ [name]: undefined })),
  )

  const wrongTypes = [null, true, 1, '', [], {}]
  test.each(
    ['iss', 'aud', 'sub', 'client_id', 'sid', 'role', 'jti'].flatMap((name) =>
      wrongTypes.map((value) => [name, value]),
    ),
  )('A6 refuses %s %j', (name, value) => expectInvalid(withClaims({ [String(name)]: value })))

  test.each([
    ['iss', [publicUrl]],
    ['iss', `${publicUrl}/`],
    ['iss', 'https://other.example'],
    ['aud', [publicUrl]],
    ['aud', [publicUrl, 'https://other.example']],
    ['aud', `${publicUrl}/auth/refresh`],
    ['aud', 'https://other.example'],
    ['client_id', 'third-party'],
    ['role', ['admin']],
  ])('A6 refuses %s %j', (name, value) => expectInvalid(withClaims({ [name]: value })))

  test.each([
    ['a session that is not', { sid: 'A'.repeat(22) }],
    ['a user that is not', { sub: '00000000-0000-4000-8000-000000000000' }],
  ])('A6 %s: 401 session_ended', async (_name, change) => {
    expectRefusal(await getMe(`Bearer ${withClaims(change)}`), 'session_ended')
  })

  test("A6 another user's session: 401 session_ended for either of the two", async () => {
    const other = await register(t.app)

    const response = await getMe(`Bearer ${withClaims({ sid: other.sessionId })}`)

    expectRefusal(response, 'session_ended')
    expect(await sessionRow(other)).toMatchObject({ ended_at: null })
  })

  test.each([
    ['sub that is no id', { sub: 'nobody' }],
    ['sub with NUL', { sub: 'a\0b' }],
    ['sid with NUL', { sid: 'a\0b' }],
    ['sid with half a surrogate pair', { sid: '\ud800' }],
    ['sid that is very long', { sid: 'A'.repeat(2000) }],
  ])('A6 %s: 401, and nothing for the database to choke on', async (_name, change) => {
    const response = await getMe(`Bearer ${withClaims(change)}`)

    expect(response.status).toBe(401)
    expect(['access_token_invalid', 'session_ended']).toContain(response.body.code)
  })

  test.each(['null', '[]', '""', '"text"', '1', 'true', 'text', '', '{', '{}'])(
    'A6 refuses the claims %s',
    (text) =>
      expectInvalid(
        text === '' ? sign(`${encode(header)}.`, accessSecret) : forge(accessSecret, header, text),
      ),
  )

  test.each([
    ['PUBLIC_URL', ' '],
    ['JWT_AUDIENCE', ' '],
    ['JWT_AUDIENCE', '\t'],
  ])('A6 a blank %s stops the start', async (name, value) => {
    await expect(loadConfig({ ...testEnvironment, [name]: value })).rejects.toThrow(
      new RegExp(`^${name}: must`),
    )
  })
})

describe('A7 times', () => {
  /** Claims with members written by hand, as JSON has numbers that JavaScript does not write. */
  const withWritten = (members: Record<string, string>) => {
    let text = JSON.stringify({ ...claims, nbf: claims.iat })
    for (const [name, value] of Object.entries(members))
      text = text.replace(new RegExp(`"${name}":\\d+`), `"${name}":${value}`)
    return forge(accessSecret, header, text)
  }

  test('A7 nbf in the past is fine', () => expectAccepted(withWritten({})))

  test.each([
    ['exp', '1e999'],
    ['exp', '-1e999'],
    ['exp', '1e300'],
    ['exp', '9007199254740993'],
    ['exp', '-1'],
    ['exp', 'null'],
    ['exp', '"4102444800"'],
    ['exp', '[4102444800]'],
    ['exp', '{}'],
    ['exp', 'true'],
    ['iat', '1e999'],
    ['iat', '-1e999'],
    ['iat', '-1'],
    ['iat', '0'],
    ['iat', 'null'],
    ['iat', '"1700000000"'],
    ['iat', '[1700000000]'],
    ['nbf', '1e999'],
    ['nbf', '"1700000000"'],
    ['nbf', 'null'],
  ])('A7 refuses %s %s', (name, value) => expectInvalid(withWritten({ [name]: value })))

  test('A7 refuses parts of seconds', async () => {
    await expectInvalid(withWritten({ exp: `${claims.exp - 1}.5` }))
    await expectInvalid(withWritten({ iat: `${claims.iat}.5` }))
  })

  test.each([
    ['longer than configured by a second', (at: number) => ({ iat: at, exp: at + 901 })],
    ['of a year', (at: number) => ({ iat: at, exp: at + 31_536_000 })],
    ['of nothing', (at: number) => ({ iat: at + 30, exp: at + 30 })],
    ['that ends before it begins', (at: number) => ({ iat: at + 50, exp: at + 40 })],
  ])('A7 refuses a lifetime %s', (_name, times) => expectInvalid(withClaims(times(now()))))

  test('A7 accepts iat and nbf within the leeway, and refuses what is beyond', async () => {
    const at = now()

    await expectAccepted(withClaims({ iat: at + 50, exp: at + 950 }))
    await expectAccepted(withClaims({ nbf: at + 50 }))
    await expectInvalid(withClaims({ iat: at + 75, exp: at + 975 }))
    await expectInvalid(withClaims({ nbf: at + 75 }))
  })

  test('A7 has no leeway for exp', async () => {
    const at = now()

    const response = await getMe(`Bearer ${withClaims({ iat: at - 30, exp: at - 1 })}`)

    expectRefusal(response, 'access_token_expired')
  })

  describe('to the second', () => {
    const at = 1_800_000_000
    const secret = randomBytes(48).toString('base64url')
    const key = createSecretKey(secret, 'utf8')
    const verifyAt = (milliseconds: number, times: Members) =>
      createAccessTokens({
        keys: {
          signingKey: () => ({ kid: 'one', key }),
          verificationKey: async (kid) => (kid === 'one' ? key : undefined),
        },
        issuer: publicUrl,
        audience: publicUrl,
        lifetimeSeconds: 900,
        clock: () => at * 1000 + milliseconds,
        randomId: () => 'id',
      }).verify(
        forge(
          secret,
          { alg: 'HS256', typ: 'at+jwt', kid: 'one' },
          {
            iss: publicUrl,
            aud: publicUrl,
            sub: client.userId,
            client_id: 'first-party',
            sid: client.sessionId,
            role: 'user',
            jti: 'id',
            ...times,
          },
        ),
      )

    test.each([
      ['iat 59 s ahead', 0, { iat: at + 59, exp: at + 900 }],
      ['iat 60 s ahead', 0, { iat: at + 60, exp: at + 900 }],
      ['nbf 59 s ahead', 0, { iat: at, nbf: at + 59, exp: at + 900 }],
      ['nbf 60 s ahead', 0, { iat: at, nbf: at + 60, exp: at + 900 }],
      ['exp in one second', 0, { iat: at - 899, exp: at + 1 }],
      ['exp in one millisecond', 999, { iat: at - 899, exp: at + 1 }],
      ['a lifetime as configured', 0, { iat: at, exp: at + 900 }],
    ])('A7 accepts %s', async (_name, milliseconds, times) => {
      expect(await verifyAt(milliseconds, times)).toEqual({
        userId: client.userId,
        sessionId: client.sessionId,
        role: 'user',
      })
    })

    test.each([
      ['access_token_invalid', 'iat 61 s ahead', 0, { iat: at + 61, exp: at + 900 }],
      ['access_token_invalid', 'nbf 61 s ahead', 0, { iat: at, nbf: at + 61, exp: at + 900 }],
      ['access_token_invalid', 'a lifetime one second too long', 0, { iat: at, exp: at + 901 }],
      ['access_token_expired', 'exp now', 0, { iat: at - 900, exp: at }],
      ['access_token_expired', 'exp one millisecond ago', 1, { iat: at - 900, exp: at }],
      ['access_token_expired', 'exp one second ago', 0, { iat: at - 900, exp: at - 1 }],
    ])('A7 answers %s to %s', async (code, _name, milliseconds, times) => {
      await expect(verifyAt(milliseconds, times)).rejects.toMatchObject({ code })
    })
  })
})

describe('A8 one spelling', () => {
  const parts = () => client.accessToken.split('.') as [string, string, string]
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

  /** The same bytes in another spelling: a bit set that decoders drop. */
  const respelled = (part: string) => {
    const other = part.slice(0, -1) + alphabet[alphabet.indexOf(part.at(-1) ?? '') + 1]
    if (!Buffer.from(other, 'base64url').equals(Buffer.from(part, 'base64url')))
      throw new Error('no spare bits')
    return other
  }
  /** A token, good but for a claim nobody asks for, whose text fulfils a wish. */
  const goodTokenWhere = (wish: (token: string) => boolean) => {
    for (let filler = 'a'; ; filler += 'a') {
      const token = forge(accessSecret, header, { ...claims, filler: `>?>?${filler}~` })
      if (wish(token)) return token
    }
  }
  const standard = (part: string) => part.replaceAll('-', '+').replaceAll('_', '/')

  test.each<[string, (head: string, body: string, signature: string) => string]>([
    ['padding of the signature', (h, p, s) => `${h}.${p}.${s}=`],
    ['padding of the header, signed so', (h, p) => sign(`${h}=.${p}`, accessSecret)],
    ['padding of the claims, signed so', (h, p) => sign(`${h}.${p}=`, accessSecret)],
    ['white space in the header, signed so', (h, p) => sign(`${h} .${p}`, accessSecret)],
    ['white space in the claims, signed so', (h, p) => sign(`${h}. ${p}`, accessSecret)],
    ['white space in the signature', (h, p, s) => `${h}.${p}. ${s}`],
    ['a tab', (h, p, s) => `${h}.${p}.${s.slice(0, 9)}\t${s.slice(9)}`],
    ['a character outside of the alphabet', (h, p, s) => `${h}.${p}.${s}!`],
    ['another last character of the signature', (h, p, s) => `${h}.${p}.${respelled(s)}`],
    ['two parts', (h, p) => `${h}.${p}`],
    ['one part', (h) => h],
    ['four parts', (h, p, s) => `${h}.${p}.${s}.${s}`],
    ['four parts, the last one empty', (h, p, s) => `${h}.${p}.${s}.`],
    ['five parts', (h, p, s) => `${h}.${p}.${s}.${p}.${s}`],
    ['an empty header', (_h, p) => sign(`.${p}`, accessSecret)],
    ['empty claims', (h) => sign(`${h}.`, accessSecret)],
    ['an empty signature', (h, p) => `${h}.${p}.`],
    ['a cut signature', (h, p, s) => `${h}.${p}.${s.slice(0, 40)}`],
    ['empty parts', () => '..'],
    ['two tokens', (h, p, s) => `${h}.${p}.${s} ${h}.${p}.${s}`],
    ['two tokens and a comma', (h, p, s) => `${h}.${p}.${s}, ${h}.${p}.${s}`],
    ['quotes', (h, p, s) => `"${h}.${p}.${s}"`],
    ['a header that is not JSON', (_h, p) => sign(`${encode('text').slice(0, 4)}.${p}`, accessSecret)],
    ['a header that is null', (_h, p) => sign(`${encode(null)}.${p}`, accessSecret)],
    ['a header that is an array', (_h, p) => sign(`${encode([header])}.${p}`, accessSecret)],
  ])('A8 refuses %s', (_name, spell) => expectInvalid(spell(...parts())))

  test('A8 refuses another last character of the claims, signed so', async () => {
    const token = goodTokenWhere((text) => (text.split('.')[1] ?? '').length % 4 !== 0)
    const [head, body = ''] = token.split('.')

    await expectAccepted(token)
    await expectInvalid(sign(`${head}.${respelled(body)}`, accessSecret))
  })

  test.each([
    ['signature', 2],
    ['claims', 1],
  ])('A8 refuses the alphabet of plain base64 in the %s', async (_name, index) => {
    const token = goodTokenWhere((text) => /[-_]/.test(text.split('.')[index] ?? ''))
    const spelled = token.split('.').map((part, i) => (i === index ? standard(part) : part))

    await expectAccepted(token)
    await expectInvalid(index === 2 ? spelled.join('.') : sign(spelled.slice(0, 2).join('.'), accessSecret))
  })
})

describe('A9 size', () => {
  /** A token of exactly this length; as base64url leaves lengths out, there may be a space in its header. */
  const ofLength = (length: number, change: Members = {}) => {
    for (let filler = 2000; filler < 4000; filler++)
      for (const space of ['', ' ']) {
        const text = JSON.stringify({ ...claims, ...change, filler: 'a'.repeat(filler) })
        const head = Buffer.from(JSON.stringify(header) + space).toString('base64url')
        const token = sign(`${head}.${Buffer.from(text).toString('base64url')}`, accessSecret)
        if (token.length === length) return token
      }
    throw new Error(`no token has ${length} characters`)
  }

  test('A9 accepts a token of 4 KiB, and refuses a longer one', async () => {
    await expectAccepted(ofLength(4096))
    await expectInvalid(ofLength(4097))
  })

  test('A9 refuses before parsing: it does not say that a token over 4 KiB has expired', async () => {
    const expired = { iat: claims.iat - 900, exp: claims.iat - 1 }

    expectRefusal(await getMe(`Bearer ${withClaims(expired)}`), 'access_token_expired')
    await expectInvalid(ofLength(4097, expired))
  })
})

describe('A10 where a token is looked for', () => {
  test.each([
    ['nothing', () => request(server).get('/users/me')],
    ['an empty header', () => getMe('')],
    ['the scheme alone', () => getMe('Bearer')],
    ['a token without a scheme', () => getMe(client.accessToken)],
    ['the scheme Basic', () => getMe(`Basic ${Buffer.from('user:password').toString('base64')}`)],
    ['a token after another scheme', () => getMe(`Token ${client.accessToken}`)],
    ['a token after another scheme that ends alike', () => getMe(`XBearer ${client.accessToken}`)],
    [
      'a token in the query string',
      () =>
        request(server)
          .get('/users/me')
          .query({ access_token: client.accessToken, token: client.accessToken }),
    ],
    [
      'a token in a cookie',
      () =>
        request(server)
          .get('/users/me')
          .set('Cookie', `access_token=${client.accessToken}; ${cookie(client.accessToken)}`),
    ],
    [
      'a token in another header',
      () => request(server).get('/users/me').set('X-Access-Token', client.accessToken),
    ],
    [
      'a token in a body of JSON',
      () => request(server).post('/auth/logout-all').send({ access_token: client.accessToken }),
    ],
    [
      'a token in a form',
      () => request(server).post('/auth/logout-all').type('form').send({ access_token: client.accessToken }),
    ],
  ])('A10 %s: 401 access_token_missing, and no error in the challenge', async (_name, send) => {
    const before = await sessionRow(client)

    const response = await send()

    expectRefusal(response, 'access_token_missing')
    expect(await sessionRow(client)).toEqual(before)
  })

  test.each(['Bearer', 'bearer', 'BEARER', 'bEaReR', 'Bearer  '])(
    'A10 takes the scheme "%s"',
    async (scheme) => {
      const response = await getMe(`${scheme} ${client.accessToken}`)

      expect(response.status).toBe(200)
      expect(response.get('WWW-Authenticate')).toBeUndefined()
    },
  )

  test.each([
    ['the same token twice', (good: string) => [good, good]],
    ['a good token, then a bad one', (good: string) => [good, 'Bearer x']],
    ['a bad token, then a good one', (good: string) => ['Bearer x', good]],
    ['a good token, then Basic', (good: string) => [good, 'Basic dTpw']],
  ])('A10 refuses two Authorization headers: %s', async (_name, values) => {
    const headers = ['Host', `127.0.0.1:${portOf(server)}`, 'Connection', 'close']
    for (const value of values(bearer(client))) headers.push('Authorization', value)

    const [answer, body] = await new Promise<[http.IncomingMessage, string]>((done, fail) => {
      http
        .get({ port: portOf(server), host: '127.0.0.1', path: '/users/me', headers }, (res) => {
          let text = ''
          res.on('data', (chunk) => {
            text += chunk
          })
          res.on('end', () => done([res, text]))
        })
        .on('error', fail)
    })

    expect(answer.statusCode).toBe(401)
    expect(answer.headers['www-authenticate']).toBe('Bearer error="invalid_token"')
    expect(JSON.parse(body).code).toBe('access_token_invalid')
  })
})

// The last one, as the tokens above have expired after it.
test('A7 a token is good until its end by the clock of the server, and not after it', async () => {
  const late = await register(t.app)
  const { exp } = partsOf(late.accessToken).claims
  await t.pass(exp - now() - 30)
  await getMe(bearer(late)).expect(200)
  await t.pass(31)

  const response = await getMe(bearer(late))

  expectRefusal(response, 'access_token_expired')
  expect(await sessionRow(late)).toMatchObject({ ended_at: null })
})
