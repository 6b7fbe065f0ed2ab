import { createHmac, createSecretKey, generateKeyPairSync, randomBytes, sign as signWith } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import { jwtVerify } from 'jose'
import jwt from 'jsonwebtoken'
import { pino } from 'pino'
import request from 'supertest'
import { createRefreshTokens } from '../../src/auth/refresh-token.ts'
import { compose } from '../../src/compose.ts'
import { ConfigError, loadConfig } from '../../src/config.ts'
import {
  accessSecret,
  type Client,
  clearsCookie,
  cookie,
  createTestApp,
  forge,
  publicUrl,
  refresh,
  refreshSecret,
  refreshTokenOf,
  register,
  sign,
  type TestApp,
  testEnvironment,
} from '../support/app.ts'

type Members = Record<string, unknown>
type Claims = Members & { iat: number; exp: number }

let t: TestApp
let server: http.Server
let client: Client
let header: Members
let claims: Claims

beforeAll(async () => {
  t = await createTestApp()
  client = await register(t.app)
  ;({ header, claims } = partsOf(client.refreshToken))
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
  return { header: { ...header } as Members, claims: payload as Claims }
}

const withHeader = (change: Members) => forge(refreshSecret, { ...header, ...change }, claims)
const withClaims = (change: Members) => forge(refreshSecret, header, { ...claims, ...change })
const encode = (part: unknown) => Buffer.from(JSON.stringify(part)).toString('base64url')
const unsigned = (alg: unknown) => `${encode({ ...header, alg })}.${encode(claims)}`
const now = () => Math.floor(Date.now() / 1000)

const post = (token: string) => request(server).post('/auth/refresh').set('Cookie', cookie(token))

const sessionRow = async ({ sessionId }: Client) => {
  const [row] = await t.db.rows(sql`SELECT * FROM sessions WHERE id = ${sessionId}`)
  return row
}

const wordsOfLibraries =
  /jwt|jws|signature|malformed|audience|algorithm|issuer|subject|syntax|not active|zod/i

/** A 401 that says what the contract says and no more, and takes the cookie away. */
function expectRefusal(response: request.Response, code: string) {
  expect(response.body.code).toBe(code)
  expect(response.status).toBe(401)
  expect(response.type).toBe('application/problem+json')
  expect(response.body.accessToken).toBeUndefined()
  expect(response.text).not.toMatch(wordsOfLibraries)
  expect(clearsCookie(response)).toBe(true)
}

async function expectInvalid(token: string) {
  const before = await sessionRow(client)

  const response = await post(token)

  expectRefusal(response, 'refresh_token_invalid')
  expect(await sessionRow(client)).toEqual(before)
  expect(before).toMatchObject({ generation: 1, ended_at: null })
}

/** Has a token made out of a new session's, and expects that it rotates that session. */
async function expectAccepted(make: (claims: Claims) => string) {
  const other = await register(t.app)

  const response = await post(make(partsOf(other.refreshToken).claims))

  expect(response.status).toBe(200)
  expect(await sessionRow(other)).toMatchObject({ generation: 2, ended_at: null })
}

describe('a refresh token as it is issued', () => {
  test('has the header and the claims of the contract and no others', async () => {
    const [row] = await t.db.rows<{ rotated: number; expires: number }>(
      sql`SELECT floor(extract(epoch FROM rotated_at))::int AS rotated FROM sessions WHERE id = ${client.sessionId}`,
    )

    expect(header).toEqual({ typ: 'rt+jwt', alg: 'HS256', kid: expect.stringMatching(/^[\w-]{16}$/) })
    expect(claims).toEqual({
      iss: publicUrl,
      aud: `${publicUrl}/auth/refresh`,
      sub: client.userId,
      sid: client.sessionId,
      gen: 1,
      jti: `${client.sessionId}.1`,
      iat: row?.rotated,
      exp: claims.iat + 604_800,
    })
  })

  test('is verified by jose with the secret of refresh tokens', async () => {
    const { protectedHeader } = await jwtVerify(client.refreshToken, createSecretKey(refreshSecret, 'utf8'), {
      issuer: publicUrl,
      audience: `${publicUrl}/auth/refresh`,
      typ: 'rt+jwt',
      algorithms: ['HS256'],
    })

    expect(protectedHeader.kid).not.toBe(partsOf(client.accessToken).header.kid)
  })

  test('re-signed without a change is accepted, so what the tests below change is what is refused', async () => {
    expect(forge(refreshSecret, header, claims)).toBe(client.refreshToken)
    await expectAccepted((own) => forge(refreshSecret, header, own))
  })

  test('is in the cookie only, and its successor says the next generation', async () => {
    const other = await register(t.app)

    const response = await refresh(t.app, other.refreshToken)

    const successor = refreshTokenOf(response)
    expect(response.text).not.toContain(successor)
    expect(partsOf(successor).claims).toMatchObject({
      sub: other.userId,
      sid: other.sessionId,
      gen: 2,
      jti: `${other.sessionId}.2`,
    })
  })
})

describe('A1 one pinned algorithm', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicPem = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const pss = { key: rsa.privateKey, padding: 6, saltLength: 32 }
  const p1363 = { key: ec.privateKey, dsaEncoding: 'ieee-p1363' as const }
  const signatures: Record<string, (input: string) => Buffer> = {
    HS384: (input) => createHmac('sha384', refreshSecret).update(input).digest(),
    HS512: (input) => createHmac('sha512', refreshSecret).update(input).digest(),
    RS256: (input) => signWith('sha256', Buffer.from(input), rsa.privateKey),
    PS256: (input) => signWith('sha256', Buffer.from(input), pss),
    ES256: (input) => signWith('sha256', Buffer.from(input), p1363),
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
    [''],
    [['HS256']],
    [['none', 'HS256']],
    [null],
    [256],
    [undefined],
  ])('A1 refuses alg %j though the HS256 signature is true', (alg) =>
    expectInvalid(sign(unsigned(alg), refreshSecret)),
  )

  test.each(Object.keys(signatures))('A1 refuses alg %s though the signature is true for it', (alg) =>
    expectInvalid(`${unsigned(alg)}.${signatures[alg]?.(unsigned(alg)).toString('base64url')}`),
  )

  test.each(['HS256', 'RS256'])('A1 refuses alg %s signed by HMAC with a public key as the secret', (alg) =>
    expectInvalid(sign(unsigned(alg), publicPem)),
  )

  test('A1 refuses a signature by another secret', () => expectInvalid(forge(accessSecret, header, claims)))

  test('A1 refuses a change of the claims under the old signature', () => {
    const [head, , signature] = client.refreshToken.split('.')
    return expectInvalid(`${head}.${encode({ ...claims, gen: 2 })}.${signature}`)
  })
})

test('A2 a PEM or JWK as the shared secret stops the start', async () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const texts = [
    publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    JSON.stringify(publicKey.export({ format: 'jwk' })),
  ]

  for (const JWT_REFRESH_SECRET of texts) {
    const start = loadConfig({ ...testEnvironment, JWT_REFRESH_SECRET })
    await expect(start).rejects.toThrow(ConfigError)
    await expect(start).rejects.toThrow(/^JWT_REFRESH_SECRET: is a PEM or JWK key/)
  }
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

  test('A3 refuses the kid of the other kind', () =>
    expectInvalid(withHeader({ kid: partsOf(client.accessToken).header.kid })))
})

describe('A4 crit', () => {
  test.each([
    [{ crit: ['exp'] }],
    [{ crit: ['exp'], exp: 1 }],
    [{ crit: ['b64'], b64: true }],
    [{ crit: ['b64'], b64: false }],
    [{ crit: ['urn:example:unknown'], 'urn:example:unknown': true }],
    [{ crit: [] }],
    [{ crit: 'exp' }],
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
    ['RT+JWT'],
    ['at+jwt'],
    ['rt+jwt '],
    [['rt+jwt']],
    [1],
  ])('A5 refuses typ %j', (typ) => expectInvalid(withHeader({ typ })))

  test('A5 an access token is no refresh token', () => expectInvalid(client.accessToken))

  test('A5 an access token signed with the key of refresh tokens is none either', async () => {
    const access = partsOf(client.accessToken)

    await expectInvalid(forge(refreshSecret, { ...access.header, kid: header.kid }, access.claims))
    await expectInvalid(forge(refreshSecret, header, access.claims))
  })

  test('A5 the typ alone refuses what has the claims of both kinds', async () => {
    const access = partsOf(client.accessToken).claims

    await expectAccepted((own) => forge(refreshSecret, header, { ...access, ...own }))
    await expectInvalid(forge(refreshSecret, { ...header, typ: 'at+jwt' }, { ...access, ...claims }))
  })
})

describe('A6 claims', () => {
  test.each(['iss', 'aud', 'sub', 'sid', 'gen', 'jti', 'iat', 'exp'])(
    'A6 refuses a token without %s',
    (name) => expectInvalid(withClaims({ [name]: undefined })),
  )

  const wrongTypes = [null, true, 1, '', [], {}]
  test.each(['iss', 'aud', 'sub', 'sid', 'jti'].flatMap((name) => wrongTypes.map((value) => [name, value])))(
    'A6 refuses %s %j',
    (name, value) => expectInvalid(withClaims({ [String(name)]: value })),
  )

  test.each([
    ['iss', [publicUrl]],
    ['iss', `${publicUrl}/`],
    ['iss', 'https://other.example'],
    ['aud', [`${publicUrl}/auth/refresh`]],
    ['aud', `${publicUrl}/auth/refresh/`],
    ['aud', publicUrl],
    ['aud', 'https://other.example/auth/refresh'],
    ['gen', null],
    ['gen', true],
    ['gen', '1'],
    ['gen', [1]],
    ['gen', 0],
    ['gen', -1],
    ['gen', 1.5],
  ])('A6 refuses %s %j', (name, value) => expectInvalid(withClaims({ [name]: value })))

  test.each([
    ['a session that is not', { sid: 'A'.repeat(22) }],
    ['a user that is not', { sub: '00000000-0000-4000-8000-000000000000' }],
  ])('A6 %s: 401 session_ended, and the session goes on', async (_name, change) => {
    const before = await sessionRow(client)

    expectRefusal(await post(withClaims(change)), 'session_ended')

    expect(await sessionRow(client)).toEqual(before)
  })

  test("A6 another user's session: 401 session_ended, and neither session is touched", async () => {
    const other = await register(t.app)
    const before = await Promise.all([sessionRow(client), sessionRow(other)])

    expectRefusal(await post(withClaims({ sid: other.sessionId, gen: 2 })), 'session_ended')

    expect(await Promise.all([sessionRow(client), sessionRow(other)])).toEqual(before)
  })

  test.each([
    ['sub that is no id', { sub: 'nobody' }],
    ['sub with NUL', { sub: 'a\0b' }],
    ['sid with NUL', { sid: 'a\0b' }],
    ['sid with half a surrogate pair', { sid: '\ud800' }],
    ['sid that is very long', { sid: 'A'.repeat(2000) }],
  ])('A6 %s: 401, and nothing for the database to choke on', async (_name, change) => {
    const response = await post(withClaims(change))

    expect(response.status).toBe(401)
    expect(['refresh_token_invalid', 'session_ended']).toContain(response.body.code)
    expect(clearsCookie(response)).toBe(true)
  })

  test.each([2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER])(
    'A6 gen %d, which no row can have: 401, and nothing for the database to choke on',
    async (gen) => {
      const other = await register(t.app)

      const response = await post(
        forge(refreshSecret, header, { ...partsOf(other.refreshToken).claims, gen }),
      )

      expect(response.status).toBe(401)
      expect(['refresh_token_invalid', 'refresh_token_reused']).toContain(response.body.code)
      expect(clearsCookie(response)).toBe(true)
    },
  )

  test.each(['null', '[]', '""', '"text"', '1', 'text', '', '{', '{}'])('A6 refuses the claims %s', (text) =>
    expectInvalid(
      text === '' ? sign(`${encode(header)}.`, refreshSecret) : forge(refreshSecret, header, text),
    ),
  )
})

describe('A7 times', () => {
  /** Claims with members written by hand, as JSON has numbers that JavaScript does not write. */
  const withWritten = (members: Record<string, string>, of: Claims = claims) => {
    let text = JSON.stringify({ ...of, nbf: of.iat })
    for (const [name, value] of Object.entries(members))
      text = text.replace(new RegExp(`"${name}":\\d+`), `"${name}":${value}`)
    return forge(refreshSecret, header, text)
  }

  test('A7 nbf in the past is fine', () => expectAccepted((own) => withWritten({}, own)))

  test.each([
    ['exp', '1e999'],
    ['exp', '-1e999'],
    ['exp', '1e300'],
    ['exp', '-1'],
    ['exp', '4102444800.5'],
    ['exp', 'null'],
    ['exp', '"4102444800"'],
    ['exp', '[4102444800]'],
    ['iat', '1e999'],
    ['iat', '-1'],
    ['iat', '1700000000.5'],
    ['iat', 'null'],
    ['iat', '"1700000000"'],
    ['nbf', '1e999'],
    ['nbf', '"1700000000"'],
    ['nbf', 'null'],
    ['gen', '1e999'],
  ])('A7 refuses %s %s', (name, value) => expectInvalid(withWritten({ [name]: value })))

  test('A7 refuses iat and nbf beyond the leeway, and accepts them within', async () => {
    const at = now()

    await expectInvalid(withClaims({ iat: at + 75 }))
    await expectInvalid(withClaims({ nbf: at + 75 }))
    await expectAccepted((own) => forge(refreshSecret, header, { ...own, iat: now() + 50, nbf: now() + 50 }))
  })

  test('A7 the end is for the database to judge: an exp of the past on a live session is good', () =>
    expectAccepted((own) => forge(refreshSecret, header, { ...own, iat: own.iat - 100, exp: own.iat - 1 })))

  describe('to the second', () => {
    const at = 1_800_000_000
    const secret = randomBytes(48).toString('base64url')
    const key = createSecretKey(secret, 'utf8')
    const verifyAt = (milliseconds: number, times: Members) =>
      createRefreshTokens({
        keys: {
          signingKey: () => ({ kid: 'one', key }),
          verificationKey: async (kid) => (kid === 'one' ? key : undefined),
        },
        issuer: publicUrl,
        clock: () => at * 1000 + milliseconds,
      }).verify(
        forge(secret, { alg: 'HS256', typ: 'rt+jwt', kid: 'one' }, { ...claims, exp: at + 900, ...times }),
      )

    test.each([
      ['iat 59 s ahead', { iat: at + 59 }],
      ['iat 60 s ahead', { iat: at + 60 }],
      ['nbf 59 s ahead', { iat: at, nbf: at + 59 }],
      ['nbf 60 s ahead', { iat: at, nbf: at + 60 }],
    ])('A7 accepts %s', async (_name, times) => {
      expect(await verifyAt(0, times)).toEqual({
        userId: client.userId,
        sessionId: client.sessionId,
        generation: 1,
      })
    })

    test.each([
      ['iat 61 s ahead', { iat: at + 61 }],
      ['nbf 61 s ahead', { iat: at, nbf: at + 61 }],
    ])('A7 refuses %s', async (_name, times) => {
      expect(await verifyAt(0, times)).toBeUndefined()
    })
  })
})

describe('A8 one spelling', () => {
  const parts = () => client.refreshToken.split('.') as [string, string, string]
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

  /** The same bytes in another spelling: a bit set that decoders drop. */
  const respelled = (part: string) => {
    const other = part.slice(0, -1) + alphabet[alphabet.indexOf(part.at(-1) ?? '') + 1]
    if (!Buffer.from(other, 'base64url').equals(Buffer.from(part, 'base64url')))
      throw new Error('no spare bits')
    return other
  }
  /** A token, good but for a claim nobody asks for, whose text fulfils a wish. */
  const goodTokenWhere = (of: Claims, wish: (token: string) => boolean) => {
    for (let filler = 'a'; ; filler += 'a') {
      const token = forge(refreshSecret, header, { ...of, filler: `>?>?${filler}~` })
      if (wish(token)) return token
    }
  }
  const standard = (part: string) => part.replaceAll('-', '+').replaceAll('_', '/')

  test.each<[string, (head: string, body: string, signature: string) => string]>([
    ['padding of the signature', (h, p, s) => `${h}.${p}.${s}=`],
    ['padding of the header, signed so', (h, p) => sign(`${h}=.${p}`, refreshSecret)],
    ['padding of the claims, signed so', (h, p) => sign(`${h}.${p}=`, refreshSecret)],
    ['white space in the claims, signed so', (h, p) => sign(`${h}. ${p}`, refreshSecret)],
    ['white space in the signature', (h, p, s) => `${h}.${p}. ${s}`],
    ['an encoded space before it', (h, p, s) => `%20${h}.${p}.${s}`],
    ['an encoded line feed after it', (h, p, s) => `${h}.${p}.${s}%0A`],
    ['an encoded NUL after it', (h, p, s) => `${h}.${p}.${s}%00`],
    ['a character outside of the alphabet', (h, p, s) => `${h}.${p}.${s}!`],
    ['another last character of the signature', (h, p, s) => `${h}.${p}.${respelled(s)}`],
    ['two parts', (h, p) => `${h}.${p}`],
    ['one part', (h) => h],
    ['four parts', (h, p, s) => `${h}.${p}.${s}.${s}`],
    ['four parts, the last one empty', (h, p, s) => `${h}.${p}.${s}.`],
    ['an empty header', (_h, p) => sign(`.${p}`, refreshSecret)],
    ['empty claims', (h) => sign(`${h}.`, refreshSecret)],
    ['an empty signature', (h, p) => `${h}.${p}.`],
    ['a cut signature', (h, p, s) => `${h}.${p}.${s.slice(0, 40)}`],
    ['empty parts', () => '..'],
    ['two tokens', (h, p, s) => `${h}.${p}.${s} ${h}.${p}.${s}`],
    ['a header that is null', (_h, p) => sign(`${encode(null)}.${p}`, refreshSecret)],
    ['a header that is an array', (_h, p) => sign(`${encode([header])}.${p}`, refreshSecret)],
  ])('A8 refuses %s', (_name, spell) => expectInvalid(spell(...parts())))

  test('A8 refuses another last character of the claims, signed so', async () => {
    const spare = (token: string) => (token.split('.')[1] ?? '').length % 4 !== 0
    const [head, body = ''] = goodTokenWhere(claims, spare).split('.')

    await expectAccepted((own) => goodTokenWhere(own, spare))
    await expectInvalid(sign(`${head}.${respelled(body)}`, refreshSecret))
  })

  test.each([
    ['signature', 2],
    ['claims', 1],
  ])('A8 refuses the alphabet of plain base64 in the %s', async (_name, index) => {
    const special = (token: string) => /[-_]/.test(token.split('.')[index] ?? '')
    const spelled = goodTokenWhere(claims, special)
      .split('.')
      .map((part, i) => (i === index ? standard(part) : part))

    await expectAccepted((own) => goodTokenWhere(own, special))
    await expectInvalid(index === 2 ? spelled.join('.') : sign(spelled.slice(0, 2).join('.'), refreshSecret))
  })
})

test('A9 accepts a token of 4 KiB, and refuses a longer one', async () => {
  // As base64url leaves lengths out, there may be a space in the header.
  const ofLength = (of: Claims, length: number) => {
    for (let filler = 2000; filler < 4000; filler++)
      for (const space of ['', ' ']) {
        const text = JSON.stringify({ ...of, filler: 'a'.repeat(filler) })
        const head = Buffer.from(JSON.stringify(header) + space).toString('base64url')
        const token = sign(`${head}.${Buffer.from(text).toString('base64url')}`, refreshSecret)
        if (token.length === length) return token
      }
    throw new Error(`no token has ${length} characters`)
  }

  await expectInvalid(ofLength(claims, 4097))
  await expectAccepted((own) => ofLength(own, 4096))
})

describe('A10 where a token is looked for', () => {
  test.each([
    ['nothing', () => request(server).post('/auth/refresh')],
    ['an empty cookie', () => post('')],
    [
      'a token in the Authorization header',
      () => request(server).post('/auth/refresh').set('Authorization', `Bearer ${client.refreshToken}`),
    ],
    [
      'a token in the query string',
      () => request(server).post('/auth/refresh').query({ refresh_token: client.refreshToken }),
    ],
    [
      'a token in a body of JSON',
      () => request(server).post('/auth/refresh').send({ refresh_token: client.refreshToken }),
    ],
    [
      'a token in a form',
      () => request(server).post('/auth/refresh').type('form').send({ refresh_token: client.refreshToken }),
    ],
    [
      'a token in a cookie of another name',
      () =>
        request(server)
          .post('/auth/refresh')
          .set('Cookie', `Refresh_Token=${client.refreshToken}; __Host-refresh_token=${client.refreshToken}`),
    ],
  ])('A10 %s: 401 refresh_token_missing', async (_name, send) => {
    const before = await sessionRow(client)

    const response = await send()

    expectRefusal(response, 'refresh_token_missing')
    expect(await sessionRow(client)).toEqual(before)
  })
})

test('none of what was refused above has hurt the session: its token still rotates it', async () => {
  const response = await post(client.refreshToken)

  expect(response.status).toBe(200)
  expect(await sessionRow(client)).toMatchObject({ generation: 2, ended_at: null })
})

// The last ones, as they move the clock of the database.
describe('the end of a refresh token, with 100 s of idleness and 150 s at all', () => {
  let skewMs = 0
  let services: Awaited<ReturnType<typeof compose>>
  let limited: TestApp['app']
  const pass = async (seconds: number) => {
    skewMs += seconds * 1000
    await t.pass(seconds)
  }
  beforeAll(async () => {
    const config = await loadConfig({
      ...testEnvironment,
      SESSION_IDLE_SECONDS: '100',
      SESSION_ABSOLUTE_SECONDS: '150',
    })
    services = await compose(config, pino({ level: 'silent' }), {
      clock: () => Date.now() + skewMs,
      database: { ...t.db.database, close: async () => {} },
    })
    limited = services.app(publicUrl)
  })
  afterAll(() => services.close())

  const timesOf = async ({ sessionId }: Client) => {
    const [row] = await t.db.rows<{ rotated: number; expires: number }>(
      sql`SELECT floor(extract(epoch FROM rotated_at))::int AS rotated,
                 floor(extract(epoch FROM expires_at))::int AS expires FROM sessions WHERE id = ${sessionId}`,
    )
    return row ?? { rotated: 0, expires: 0 }
  }

  test('exp = min(rotated_at + idle, absolute end), and the database holds to both', async () => {
    const user = await register(limited)
    const first = partsOf(user.refreshToken).claims
    const started = await timesOf(user)
    await pass(40)
    const second = refreshTokenOf(await refresh(limited, user.refreshToken).expect(200))
    const rotated = await timesOf(user)
    await pass(60)
    const third = refreshTokenOf(await refresh(limited, second).expect(200))
    const rotatedLate = await timesOf(user)
    await pass(51)
    const late = await refresh(limited, third)

    expect(first).toMatchObject({ iat: started.rotated, exp: started.rotated + 100 })
    expect(started.expires).toBe(started.rotated + 150)
    expect(partsOf(second).claims).toMatchObject({ iat: rotated.rotated, exp: rotated.rotated + 100 })
    expect(partsOf(third).claims).toMatchObject({ iat: rotatedLate.rotated, exp: started.expires })
    expectRefusal(late, 'session_ended')
  })

  test('a token not used for the idle time: 401 session_ended, not refresh_token_invalid', async () => {
    const user = await register(limited)
    await pass(101)

    expectRefusal(await refresh(limited, user.refreshToken), 'session_ended')

    expect(await sessionRow(user)).toMatchObject({ generation: 1 })
  })
})
