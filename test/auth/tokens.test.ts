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
import type request from 'supertest'
import { createAccessTokens } from '../../src/auth/access-token.ts'
import { createRefreshTokens } from '../../src/auth/refresh-token.ts'
import { loadConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'
import { createKeyring } from '../../src/secrets/keyring.ts'
import type { TokenKeys } from '../../src/secrets/live-keys.ts'
import type { Session } from '../../src/store/sessions.ts'
import {
  accessSecret,
  bearer,
  type Client,
  clearsCookie,
  clientOf,
  cookie,
  createTestApp,
  expectProblem,
  newEmail,
  password,
  publicUrl,
  refresh,
  refreshSecret,
  refreshTokenOf,
  register,
  rowOf,
  send,
  testEnvironment,
  useTestApp,
} from '../support/app.ts'
import {
  badHeaders,
  badSpellings,
  type Claims,
  encode,
  forge,
  type Members,
  partsOf,
  respelled,
  type Spelling,
  sign,
} from '../support/forgeries.ts'

const t = useTestApp()
let server: http.Server
/** No forgery may change the session of this client. */
let client: Client

beforeAll(async () => {
  client = await register(t.app)
  server = await listening(http.createServer(t.app))
})
afterAll(() => void server.close())

function listening(on: http.Server) {
  return new Promise<http.Server>((done) => void on.listen(0, '127.0.0.1', () => done(on)))
}
const portOf = (on: http.Server) => (on.address() as AddressInfo).port
const now = () => Math.floor(Date.now() / 1000)

const getMe = (Authorization: string) => send(server, 'GET /users/me', { headers: { Authorization } })
const postRefresh = (token: string) => send(server, 'POST /auth/refresh', { token })
const present = (route: string, headers: Record<string, string>) => send(server, route, { headers })
const tokenAs = (name: 'access_token' | 'refresh_token') => ({
  [name]: name === 'access_token' ? client.accessToken : client.refreshToken,
})

const oneKey = (key: KeyObject): TokenKeys => ({
  algorithm: 'HS256',
  signingKey: () => ({ kid: 'one', signs: key, verifies: key }),
  verificationKey: async (kid) => (kid === 'one' ? key : undefined),
})
const accessTokensOf = (keys: TokenKeys, clock = Date.now, audience = publicUrl) =>
  createAccessTokens({ keys, issuer: publicUrl, audience, lifetimeSeconds: 900, clock, randomId: () => 'id' })
const refreshTokensOf = (keys: TokenKeys, clock = Date.now) =>
  createRefreshTokens({ keys, issuer: publicUrl, clock })

/** A kind of token, as the tests below need it. */
interface Kind {
  name: 'access' | 'refresh'
  typ: string
  secret: string
  otherSecret: string
  audience: string
  texts: string[]
  tokenOf(client: Client): string
  present(token: string): request.Test
  /** Returns the code of the refusal, or undefined if the token is valid. */
  judge(token: string, keys: TokenKeys, clock: () => number): Promise<string | undefined>
  /** Claims that only this kind refuses. */
  claims: [name: string, value: unknown][]
  spellings: Record<string, Spelling>
  missing: [what: string, send: () => request.Test][]
}

const kinds: Kind[] = [
  {
    name: 'access',
    typ: 'at+jwt',
    secret: accessSecret,
    otherSecret: refreshSecret,
    audience: publicUrl,
    texts: ['iss', 'aud', 'sub', 'client_id', 'sid', 'role', 'jti'],
    tokenOf: ({ accessToken }) => accessToken,
    present: (token) => getMe(`Bearer ${token}`),
    judge: (token, keys, clock) =>
      accessTokensOf(keys, clock)
        .verify(token)
        .then(
          () => undefined,
          ({ code }) => code,
        ),
    claims: [
      ['client_id', 'third-party'],
      ['role', ['admin']],
    ],
    spellings: {},
    missing: [
      ['nothing', () => send(server, 'GET /users/me')],
      ['an empty header', () => getMe('')],
      ['the scheme alone', () => getMe('Bearer')],
      ['the scheme and a space', () => getMe('Bearer ')],
      ['a token without a scheme', () => getMe(client.accessToken)],
      ['the scheme Basic', () => getMe('Basic dXNlcjpwYXNz')],
      ['a token after another scheme', () => getMe(`Token ${client.accessToken}`)],
      ['a token after another scheme that ends alike', () => getMe(`XBearer ${client.accessToken}`)],
      ['a token in the query', () => send(server, `GET /users/me?access_token=${client.accessToken}`)],
      [
        'a token in a cookie',
        () =>
          present('GET /users/me', {
            Cookie: `access_token=${client.accessToken}; ${cookie(client.accessToken)}`,
          }),
      ],
      ['a token in another header', () => present('GET /users/me', { 'X-Access-Token': client.accessToken })],
      ['a token in JSON', () => send(server, 'POST /auth/logout-all', { body: tokenAs('access_token') })],
      [
        'a token in a form',
        () => send(server, 'POST /auth/logout-all').type('form').send(tokenAs('access_token')),
      ],
    ],
  },
  {
    name: 'refresh',
    typ: 'rt+jwt',
    secret: refreshSecret,
    otherSecret: accessSecret,
    audience: `${publicUrl}/auth/refresh`,
    texts: ['iss', 'aud', 'sub', 'sid', 'jti'],
    tokenOf: ({ refreshToken }) => refreshToken,
    present: postRefresh,
    judge: async (token, keys, clock) =>
      refreshTokensOf(keys, clock)
        .verify(token)
        .then(
          (claims) => (claims ? undefined : 'refresh_token_invalid'),
          ({ code }) => code,
        ),
    claims: [undefined, null, true, '1', [1], 0, -1, 1.5, 2 ** 31].map((gen) => ['gen', gen]),
    spellings: {
      'an encoded space before it': (h, p, s) => `%20${h}.${p}.${s}`,
      'an encoded line feed after it': (h, p, s) => `${h}.${p}.${s}%0A`,
      'an encoded NUL after it': (h, p, s) => `${h}.${p}.${s}%00`,
    },
    missing: [
      ['nothing', () => send(server, 'POST /auth/refresh')],
      ['an empty cookie', () => postRefresh('')],
      [
        'a token in the Authorization header',
        () => present('POST /auth/refresh', { Authorization: `Bearer ${client.refreshToken}` }),
      ],
      ['a token in the query', () => send(server, `POST /auth/refresh?refresh_token=${client.refreshToken}`)],
      ['a token in JSON', () => send(server, 'POST /auth/refresh', { body: tokenAs('refresh_token') })],
      [
        'a token in a form',
        () => send(server, 'POST /auth/refresh').type('form').send(tokenAs('refresh_token')),
      ],
      [
        'a token in a cookie of another name',
        () =>
          present('POST /auth/refresh', {
            Cookie: `Refresh_Token=${client.refreshToken}; __Host-${cookie(client.refreshToken)}`,
          }),
      ],
    ],
  },
]

const wordsOfLibraries =
  /jwt|jws|signature|malformed|audience|algorithm|issuer|subject|syntax|not active|zod/i

/** Expects a 401 that says only what the contract says. */
function expectRefusal(response: request.Response, code: string) {
  expectProblem(response, 401, code)
  expect(response.type).toBe('application/problem+json')
  const members = ['code', 'detail', 'requestId', 'status', 'title', 'type']
  expect(Object.keys(response.body).sort()).toEqual(members)
  expect(response.text).not.toMatch(wordsOfLibraries)
  if (response.request.url.includes('/auth/refresh')) return expect(clearsCookie(response)).toBe(true)
  const challenge = code === 'access_token_missing' ? 'Bearer' : 'Bearer error="invalid_token"'
  expect(response.get('WWW-Authenticate')).toBe(challenge)
}

describe.each(kinds)('$name tokens', (kind) => {
  const { typ, secret } = kind
  let token: string
  let header: Members
  let claims: Claims
  let other: { header: Members; claims: Claims }
  beforeAll(() => {
    token = kind.tokenOf(client)
    ;({ header, claims } = partsOf(token))
    other = partsOf(kind.name === 'access' ? client.refreshToken : client.accessToken)
  })

  const withHeader = (change: Members) => forge(secret, { ...header, ...change }, claims)
  const withClaims = (change: Members) => forge(secret, header, { ...claims, ...change })
  const unsigned = (alg: unknown) => `${encode({ ...header, alg })}.${encode(claims)}`

  async function expectInvalid(forged: string) {
    const before = await rowOf(t, client)
    expectRefusal(await kind.present(forged), `${kind.name}_token_invalid`)
    expect(await rowOf(t, client)).toEqual(before)
    expect(before).toMatchObject({ generation: 1, ended_at: null })
  }

  /** Expects that the token that `make` returns for a new session is accepted. */
  async function expectAccepted(make: (claims: Claims) => string) {
    const user = await register(t.app)
    const response = await kind.present(make(partsOf(kind.tokenOf(user)).claims))
    expect(response.status).toBe(200)
    const generation = kind.name === 'access' ? 1 : 2
    expect(await rowOf(t, user)).toMatchObject({ generation, ended_at: null })
  }

  test('are accepted if they are signed again without a change, so the tests below fail only by their changes', async () => {
    expect(forge(secret, header, claims)).toBe(token)
    await expectAccepted((own) => forge(secret, header, own))
  })

  test('are verified by jose with their secret, and name no person', async () => {
    const { protectedHeader, payload } = await jwtVerify(token, createSecretKey(secret, 'utf8'), {
      issuer: publicUrl,
      audience: kind.audience,
      typ,
      algorithms: ['HS256'],
      requiredClaims: ['sub', 'jti', 'iat', 'exp'],
    })

    expect(protectedHeader).toEqual({ typ, alg: 'HS256', kid: expect.stringMatching(/^[\w-]{16}$/) })
    expect(protectedHeader.kid).not.toBe(other.header.kid)
    expect(JSON.stringify(payload)).not.toContain(client.email)
  })

  describe('one pinned algorithm [A1]', () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const publicPem = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString()
    const pss = { key: rsa.privateKey, padding: 6, saltLength: 32 }
    const p1363 = { key: ec.privateKey, dsaEncoding: 'ieee-p1363' as const }
    const signatures: Record<string, (input: Buffer) => Buffer> = {
      HS384: (input) => createHmac('sha384', secret).update(input).digest(),
      HS512: (input) => createHmac('sha512', secret).update(input).digest(),
      RS256: (input) => signWith('sha256', input, rsa.privateKey),
      PS256: (input) => signWith('sha256', input, pss),
      ES256: (input) => signWith('sha256', input, p1363),
    }

    test.each(['none', 'NONE', 'None', 'nOnE', ''])('refuses alg "%s" without a signature [A1]', (alg) =>
      expectInvalid(`${unsigned(alg)}.`),
    )

    test.each(badHeaders.alg)('refuses the header %j although the HS256 signature is right [A1]', (change) =>
      expectInvalid(withHeader(change)),
    )

    test.each(Object.keys(signatures))('refuses alg %s although the signature is right for it [A1]', (alg) =>
      expectInvalid(
        `${unsigned(alg)}.${signatures[alg]?.(Buffer.from(unsigned(alg))).toString('base64url')}`,
      ),
    )

    test.each(['HS256', 'RS256'])(
      'refuses alg %s signed by HMAC with a public key as the secret [A1]',
      (alg) => expectInvalid(sign(unsigned(alg), publicPem)),
    )

    test('refuses a signature by another secret, and a change under the old signature [A1]', async () => {
      const [head, body, signature] = token.split('.')
      await expectInvalid(forge(kind.otherSecret, header, claims))
      await expectInvalid(forge('x'.repeat(48), header, claims))
      await expectInvalid(`${encode({ ...header, cty: 'x' })}.${body}.${signature}`)
      await expectInvalid(`${head}.${encode({ ...claims, role: 'admin', gen: 2 })}.${signature}`)
    })
  })

  describe('typed keys [A2]', () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

    test.each([
      ['PEM', publicKey.export({ type: 'spki', format: 'pem' }).toString()],
      ['JWK', JSON.stringify(publicKey.export({ format: 'jwk' }))],
      ['JWK of a shared secret', JSON.stringify({ kty: 'oct', k: randomBytes(48).toString('base64url') })],
    ])('the server does not start with a %s as the shared secret [A2]', async (_name, value) => {
      const name = `JWT_${kind.name.toUpperCase()}_SECRET`
      const start = loadConfig({ ...testEnvironment, [name]: value })

      await expect(start).rejects.toThrow(ConfigError)
      await expect(start).rejects.toThrow(new RegExp(`^${name}: is a PEM, JWK or SSH key`))
    })
  })

  describe('keys come from the keyring only [A3]', () => {
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

    test.each<[string, () => unknown]>([
      ['jwk', () => ownJwk],
      ['jku', hostUrl],
      ['x5u', hostUrl],
      ['x5c', () => [Buffer.from('certificate').toString('base64')]],
    ])('refuses %s, also with a right signature [A3]', async (name, value) => {
      const member = { [name]: value() }
      await expectInvalid(withHeader(member))
      await expectInvalid(forge(ownSecret, { ...header, ...member }, claims))
      await expectInvalid(forge(ownSecret, { ...header, ...member, kid: 'own' }, claims))

      expect(fetched).toEqual([])
    })

    test.each(badHeaders.kid)('refuses the header %j although the signature is right [A3]', (change) =>
      expectInvalid(withHeader(change)),
    )

    test('refuses the kid of the other kind, and names of members of Object.prototype [A3]', async () => {
      const inherited = `{"alg":"HS256","typ":"${typ}","__proto__":${JSON.stringify({ kid: header.kid })}}`
      const head = Buffer.from(inherited).toString('base64url')

      await expectInvalid(withHeader({ kid: other.header.kid }))
      await expectInvalid(sign(`${head}.${encode(claims)}`, secret))
    })
  })

  test.each(badHeaders.crit)('refuses any crit: %j [A4]', (change) => expectInvalid(withHeader(change)))

  describe('the kind of a token [A5]', () => {
    const otherTyp = typ === 'at+jwt' ? 'rt+jwt' : 'at+jwt'
    test.each([...badHeaders.typ, { typ: otherTyp }])('refuses the header %j [A5]', (change) =>
      expectInvalid(withHeader(change)),
    )

    test('refuses a token of the other kind, also if it is signed with the key of this kind [A5]', async () => {
      await expectInvalid(kind.name === 'access' ? client.refreshToken : client.accessToken)
      await expectInvalid(forge(secret, { ...other.header, kid: header.kid }, other.claims))
      await expectInvalid(forge(secret, header, other.claims))
    })

    test('refuses a token with the claims of both kinds by its typ alone [A5]', async () => {
      await expectAccepted((own) => forge(secret, header, { ...other.claims, ...own }))
      await expectInvalid(forge(secret, { ...header, typ: otherTyp }, { ...other.claims, ...claims }))
    })
  })

  describe('claims [A6]', () => {
    test.each([...kind.texts, 'iat', 'exp'])('refuses a token without %s [A6]', (name) =>
      expectInvalid(withClaims({ [name]: undefined })),
    )

    const wrongTypes = [null, true, 1, '', [], {}]
    const others = ['https://other.example', `${kind.audience}/`, [kind.audience], [kind.audience, 'urn:x']]
    const wrong: [name: string, value: unknown][] = [
      ...kind.texts.flatMap((name) => wrongTypes.map((value): [string, unknown] => [name, value])),
      ...['https://other.example', `${publicUrl}/`, [publicUrl]].map((iss): [string, unknown] => [
        'iss',
        iss,
      ]),
      ...[...others, `${publicUrl}/auth/login`].map((aud): [string, unknown] => ['aud', aud]),
      ['aud', kind.name === 'access' ? `${publicUrl}/auth/refresh` : publicUrl],
      ...kind.claims,
    ]
    test.each(wrong)('refuses %s %j [A6]', (name, value) => expectInvalid(withClaims({ [name]: value })))

    test.each<[string, (stranger: Client) => Members]>([
      ['a session that is not', () => ({ sid: 'A'.repeat(22) })],
      ['a user that is not', () => ({ sub: '00000000-0000-4000-8000-000000000000' })],
      ["another user's session", ({ sessionId }) => ({ sid: sessionId, gen: 2 })],
    ])('%s: 401 session_ended, and no session changes [A6]', async (_what, change) => {
      const stranger = await register(t.app)
      const rows = () => Promise.all([rowOf(t, client), rowOf(t, stranger)])
      const before = await rows()

      expectRefusal(await kind.present(withClaims(change(stranger))), 'session_ended')

      expect(await rows()).toEqual(before)
    })

    test.each([
      { sub: 'nobody' },
      { sub: 'a\0b' },
      { sid: 'a\0b' },
      { sid: '\ud800' },
      { sid: 'A'.repeat(2000) },
      { gen: 2 ** 32 + 1 },
      { gen: Number.MAX_SAFE_INTEGER },
    ])('refuses %j before it reaches the database [A6]', (change) =>
      'gen' in change && kind.name === 'access'
        ? expectAccepted((own) => forge(secret, header, { ...own, ...change }))
        : expectInvalid(withClaims(change)),
    )

    test.each(['null', '[]', '""', '"text"', '1', 'true', 'text', '', '{', '{}'])(
      'refuses the claims %s [A6]',
      (text) => expectInvalid(forge(secret, header, text)),
    )
  })

  describe('times [A7]', () => {
    /** Claims with a member in raw JSON, because JavaScript does not write all numbers of JSON. `%` is the value. */
    const withWritten = (name: string, value: string, of = claims) => {
      const text = JSON.stringify({ ...of, exp: of.exp - 1, nbf: of.iat })
      return forge(
        secret,
        header,
        text.replace(new RegExp(`"${name}":(\\d+)`), `"${name}":${value}`.replace('%', '$1')),
      )
    }

    test('accepts nbf in the past [A7]', () => expectAccepted((own) => withWritten('nbf', '%', own)))

    test.each(
      Object.entries({
        exp: [
          '1e999',
          '-1e999',
          '1e300',
          '9007199254740993',
          '-1',
          '%.5',
          'null',
          '"%"',
          '[%]',
          '{}',
          'true',
        ],
        iat: ['1e999', '-1e999', '-1', '%.5', 'null', '"%"', '[%]'],
        nbf: ['1e999', 'null', '"%"'],
      }).flatMap(([name, values]) => values.map((value) => [name, value] as const)),
    )('refuses %s %s [A7]', (name, value) => expectInvalid(withWritten(name, value)))

    const at = 1_800_000_000
    const code = `${kind.name}_token_invalid`
    test.each<[what: string, times: Members, code: string | undefined]>([
      ['iat 60 s ahead', { iat: at + 60 }, undefined],
      ['iat 61 s ahead', { iat: at + 61 }, kind.name === 'access' ? code : 'unavailable'],
      ['nbf 60 s ahead', { nbf: at + 60 }, undefined],
      ['nbf 61 s ahead', { nbf: at + 61 }, code],
    ])('leeway, to the second: %s [A7, G6]', async (_what, times, expected) => {
      const key = createSecretKey(secret, 'utf8')
      const forged = forge(secret, { ...header, kid: 'one' }, { ...claims, iat: at, exp: at + 900, ...times })

      expect(await kind.judge(forged, oneKey(key), () => at * 1000)).toBe(expected)
    })
  })

  describe('one spelling [A8]', () => {
    /** A valid token with an additional claim, whose text fulfils a condition. */
    const goodTokenWhere = (of: Claims, wish: (token: string) => boolean) => {
      for (let filler = 'a'; ; filler += 'a') {
        const good = forge(secret, header, { ...of, filler: `>?>?${filler}~` })
        if (wish(good)) return good
      }
    }

    test.each(Object.entries({ ...badSpellings, ...kind.spellings }))('refuses %s [A8]', (_name, spell) => {
      const [head = '', body = '', signature = ''] = token.split('.')
      return expectInvalid(spell(head, body, signature, secret))
    })

    test('refuses another last character of the claims, with a right signature [A8]', async () => {
      const spare = (text: string) => (text.split('.')[1] ?? '').length % 4 !== 0
      const [head, body = ''] = goodTokenWhere(claims, spare).split('.')

      await expectAccepted((own) => goodTokenWhere(own, spare))
      await expectInvalid(sign(`${head}.${respelled(body)}`, secret))
    })

    test.each([
      ['signature', 2],
      ['claims', 1],
    ])('refuses the alphabet of plain base64 in the %s [A8]', async (_name, index) => {
      const special = (text: string) => /[-_]/.test(text.split('.')[index] ?? '')
      const parts = goodTokenWhere(claims, special).split('.')
      parts[index] = parts[index]?.replaceAll('-', '+').replaceAll('_', '/') ?? ''

      await expectAccepted((own) => goodTokenWhere(own, special))
      await expectInvalid(index === 2 ? parts.join('.') : sign(parts.slice(0, 2).join('.'), secret))
    })
  })

  /** A token of exactly this length. base64url cannot have every length, so its header may contain a space. */
  const ofLength = (of: Members, length: number) => {
    for (let filler = 2000; filler < 4000; filler++)
      for (const space of ['', ' ']) {
        const head = Buffer.from(JSON.stringify(header) + space).toString('base64url')
        const long = sign(`${head}.${encode({ ...of, filler: 'a'.repeat(filler) })}`, secret)
        if (long.length === length) return long
      }
    throw new Error(`no token has ${length} characters`)
  }

  test('accepts a token of 4 KiB, and refuses a longer one before it parses it [A9]', async () => {
    await expectAccepted((own) => ofLength(own, 4096))
    await expectInvalid(ofLength(claims, 4097))
    await expectInvalid(ofLength({ ...claims, iat: claims.iat - 900, exp: claims.iat - 1 }, 4097))
  })

  test.each(kind.missing)(`%s: 401 ${kind.name}_token_missing [A10]`, async (_name, attempt) => {
    const before = await rowOf(t, client)

    expectRefusal(await attempt(), `${kind.name}_token_missing`)

    expect(await rowOf(t, client)).toEqual(before)
  })
})

test('keys are secret KeyObjects, which no asymmetric algorithm accepts [A2]', () => {
  const keyring = createKeyring({
    reloadSeconds: 60,
    tokenSeconds: 900,
    clock: Date.now,
    algorithm: 'HS256',
  })
  keyring.update([{ value: accessSecret, createdAt: 0, source: 'a test' }], [])

  const key = keyring.verificationKey(String(partsOf(client.accessToken).header.kid))

  expect(key).toBeInstanceOf(KeyObject)
  expect(key?.type).toBe('secret')
})

test('a token of one kind is refused as the other kind, also if the keys are the same [A5]', async () => {
  const keys = oneKey(createSecretKey(randomBytes(32)))
  const accessTokens = accessTokensOf(keys, Date.now, `${publicUrl}/auth/refresh`)
  const refreshTokens = refreshTokensOf(keys)
  const { userId, sessionId } = client
  const at = new Date()
  const session: Session = {
    ...{ id: sessionId, userId, generation: 1, userAgent: null, ip: null, amr: ['pwd'] },
    ...{ rotatedAt: at, createdAt: at, authenticatedAt: at, usableUntil: new Date(at.getTime() + 600_000) },
  }
  const { accessToken } = accessTokens.signer()(session, 'user')
  const refreshToken = refreshTokens.signer()(session)

  expect(await accessTokens.verify(accessToken)).toEqual({ userId, sessionId, role: 'user' })
  expect(await refreshTokens.verify(refreshToken)).toMatchObject({ userId, sessionId, generation: 1 })
  await expect(accessTokens.verify(refreshToken)).rejects.toMatchObject({ code: 'access_token_invalid' })
  expect(await refreshTokens.verify(accessToken)).toBeUndefined()
})

test.each([
  ['PUBLIC_URL', ' '],
  ['JWT_AUDIENCE', ' '],
  ['JWT_AUDIENCE', '\t'],
])('the server does not start with a blank %s [A6]', async (name, value) => {
  const start = loadConfig({ ...testEnvironment, [name]: value })

  await expect(start).rejects.toThrow(new RegExp(`^${name}: must`))
})

describe('an access token', () => {
  const withTimes = (times: Members) => {
    const { header, claims } = partsOf(client.accessToken)
    return `Bearer ${forge(accessSecret, header, { ...claims, ...times })}`
  }

  test('is a JWT by RFC 9068 with the claims of the contract and no others', () => {
    const { claims } = partsOf(client.accessToken)

    expect(claims).toEqual({
      iss: publicUrl,
      aud: publicUrl,
      sub: client.userId,
      client_id: 'first-party',
      sid: client.sessionId,
      role: 'user',
      auth_time: expect.any(Number),
      amr: ['pwd'],
      jti: expect.stringMatching(/^[\w-]{20,}$/),
      iat: expect.any(Number),
      exp: claims.iat + 900,
    })
    expect(Math.abs(claims.iat - now())).toBeLessThan(60)
    expect(Math.abs(Number(claims.auth_time) - claims.iat)).toBeLessThan(60)
  })

  test('says when and how the user proved their identity, by the row and also after a refresh', async () => {
    const { sessionId, refreshToken } = await register(t.app)
    await t.db.rows(sql`UPDATE sessions SET authenticated_at = '2020-02-02T20:20:20.9Z', amr = '{pwd,otp,mfa}'
      WHERE id = ${sessionId}`)

    const answers = [await refresh(t.app, refreshToken), await refresh(t.app, refreshToken)]

    for (const { body } of answers)
      expect(partsOf(body.accessToken).claims).toMatchObject({
        auth_time: Date.UTC(2020, 1, 2, 20, 20, 20) / 1000,
        amr: ['pwd', 'otp', 'mfa'],
      })
  })

  test('has a unique id', async () => {
    const other = await register(t.app)

    expect(partsOf(other.accessToken).claims.jti).not.toBe(partsOf(client.accessToken).claims.jti)
  })

  test('has the configured lifetime, which is in expiresIn, and the configured audience', async () => {
    const settings = { ACCESS_TOKEN_SECONDS: '60', JWT_AUDIENCE: 'https://api.example.com' }
    const other = await createTestApp({ ...settings, PUBLIC_URL: 'https://auth.example.com' }, t.db)

    const { body } = await send(other.app, 'POST /auth/register', { body: { email: newEmail(), password } })
    await other.close()

    const { claims } = partsOf(body.accessToken)
    expect(body).toMatchObject({ tokenType: 'Bearer', expiresIn: 60 })
    expect(claims.exp - claims.iat).toBe(60)
    expect(claims).toMatchObject({ aud: 'https://api.example.com', iss: 'https://auth.example.com' })
  })

  const end = 1_800_000_600
  test.each<[what: string, now: number, expiresIn: number]>([
    ['long before: the lifetime configured', end - 1000, 900],
    ['a second before that would pass it', end - 901, 900],
    ['when it would pass it', end - 899, 899],
    ['a second before', end - 1, 1],
    ['half a second before: a second all the same', end - 0.5, 1],
    ['where this clock is ahead: a second', end + 20, 1],
  ])('ends with its session at the latest, issued %s [A7]', async (_what, now, expiresIn) => {
    const keys = oneKey(createSecretKey(accessSecret, 'utf8'))
    const tokens = accessTokensOf(keys, () => now * 1000)

    const issued = tokens.signer()(
      {
        ...{ userId: client.userId, id: client.sessionId, amr: ['pwd'], authenticatedAt: new Date(0) },
        usableUntil: new Date(end * 1000 + 700),
      },
      'user',
    )

    const { iat, exp } = partsOf(issued.accessToken).claims
    expect(issued.expiresIn).toBe(expiresIn)
    expect(exp - iat).toBe(expiresIn)
    expect(exp).toBeLessThanOrEqual(Math.max(end, Math.floor(now) + 1))
    await expect(tokens.verify(issued.accessToken)).resolves.toMatchObject({ userId: client.userId })
  })

  test.each([
    ['idle', { SESSION_IDLE_SECONDS: '100' }, 100],
    ['absolute', { SESSION_IDLE_SECONDS: '200', SESSION_ABSOLUTE_SECONDS: '200' }, 200],
  ])('ends with the %s limit of its session at the latest [A7]', async (_limit, settings, seconds) => {
    const { app, close } = await createTestApp(settings, t.db)

    const registered = await send(app, 'POST /auth/register', { body: { email: newEmail(), password } })
    const refreshed = await refresh(app, refreshTokenOf(registered))
    await close()

    for (const answer of [registered, refreshed]) {
      const [access, own] = [answer.body.accessToken, refreshTokenOf(answer)].map(
        (text) => partsOf(text).claims,
      )
      expect(access?.exp).toBeLessThanOrEqual(own?.exp ?? 0)
      expect(answer.body.expiresIn).toBe(Number(access?.exp) - Number(access?.iat))
      expect(answer.body.expiresIn).toBeGreaterThan(seconds - 60)
      expect(answer.body.expiresIn).toBeLessThanOrEqual(seconds)
    }
  })

  test.each([
    ['longer than configured by a second', (at: number) => ({ iat: at, exp: at + 901 })],
    ['of a year', (at: number) => ({ iat: at, exp: at + 31_536_000 })],
    ['since 1970', (at: number) => ({ iat: 0, exp: at + 900 })],
    ['of nothing', (at: number) => ({ iat: at + 30, exp: at + 30 })],
    ['that ends before it begins', (at: number) => ({ iat: at + 50, exp: at + 40 })],
  ])('refuses a lifetime %s [A7]', async (_name, times) => {
    expectRefusal(await getMe(withTimes(times(now()))), 'access_token_invalid')
  })

  const at = 1_800_000_000
  test.each<[what: string, milliseconds: number, times: Members, code: string | undefined]>([
    ['exp in one second', 0, { iat: at - 899, exp: at + 1 }, undefined],
    ['exp in one millisecond', 999, { iat: at - 899, exp: at + 1 }, undefined],
    ['a lifetime as configured', 0, { iat: at, exp: at + 900 }, undefined],
    ['a lifetime one second too long', 0, { iat: at, exp: at + 901 }, 'access_token_invalid'],
    ['exp now', 0, { iat: at - 900, exp: at }, 'access_token_expired'],
    ['exp one millisecond ago', 1, { iat: at - 900, exp: at }, 'access_token_expired'],
    ['exp one second ago', 0, { iat: at - 900, exp: at - 1 }, 'access_token_expired'],
  ])('has no leeway for exp: %s [A7]', async (_name, milliseconds, times, code) => {
    const { header, claims } = partsOf(client.accessToken)
    const forged = forge(accessSecret, { ...header, kid: 'one' }, { ...claims, ...times })
    const keys = oneKey(createSecretKey(accessSecret, 'utf8'))

    expect(await kinds[0]?.judge(forged, keys, () => at * 1000 + milliseconds)).toBe(code)
  })

  test.each(['Bearer', 'bearer', 'BEARER', 'bEaReR', 'Bearer  '])(
    'accepts the scheme "%s" [A10]',
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
  ])('refuses two Authorization headers: %s [A10]', async (_name, values) => {
    const headers = { Authorization: values(bearer(client)) as unknown as string }

    expectRefusal(await send(server, 'GET /users/me', { headers }), 'access_token_invalid')
  })
})

describe('a refresh token', () => {
  test('has the claims of the contract and no others', async () => {
    const rotated = Math.floor(Date.parse(String((await rowOf(t, client))?.rotated_at)) / 1000)

    expect(partsOf(client.refreshToken).claims).toEqual({
      iss: publicUrl,
      aud: `${publicUrl}/auth/refresh`,
      sub: client.userId,
      sid: client.sessionId,
      gen: 1,
      jti: `${client.sessionId}.1`,
      iat: rotated,
      exp: rotated + 604_800,
    })
  })

  test('is refused after its own end, although its session is live [A7]', async () => {
    const user = await register(t.app)
    const { header, claims } = partsOf(user.refreshToken)
    const old = forge(refreshSecret, header, { ...claims, iat: claims.iat - 100, exp: claims.iat - 1 })

    expectRefusal(await postRefresh(old), 'session_ended')
    expect((await postRefresh(user.refreshToken)).status).toBe(200)
  })

  test('still rotates the session after all the refusals above', async () => {
    const response = await postRefresh(client.refreshToken)

    const { refreshToken, sessionId } = clientOf(response)
    expect(response.text).not.toContain(refreshToken)
    expect(partsOf(refreshToken).claims).toMatchObject({ sid: sessionId, gen: 2, jti: `${sessionId}.2` })
    expect(await rowOf(t, client)).toMatchObject({ generation: 2, ended_at: null })
  })
})

// This test comes last, because it moves the database's clock.
test('an access token is valid until its end by the clock of the server, and not after it [A7]', async () => {
  const late = await register(t.app)
  const { exp } = partsOf(late.accessToken).claims
  await t.pass(exp - now() - 30)
  await getMe(bearer(late)).expect(200)
  await t.pass(31)

  expectRefusal(await getMe(bearer(late)), 'access_token_expired')

  expect(await rowOf(t, late)).toMatchObject({ ended_at: null })
})
