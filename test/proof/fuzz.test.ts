// Sends generated requests, valid, nearly valid and hostile, as bytes on real connections. Every answer must follow the
// contract. FUZZ_REQUESTS sets the number of requests. FUZZ_SEED repeats a run.

import { once } from 'node:events'
import { createServer, type Server, STATUS_CODES } from 'node:http'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import fc from 'fast-check'
import type { ErrorCode } from '../../src/errors.ts'
import { problems } from '../../src/features.ts'
import type { Route } from '../../src/http/route.ts'
import { twoCookiesDetail } from '../../src/routes/refresh.ts'
import {
  accessSecret,
  type Client,
  cookie,
  createTestApp,
  newEmail,
  password,
  publicUrl,
  refreshCookieName,
  refreshSecret,
  register,
  send,
  type TestApp,
} from '../support/app.ts'
import {
  badHeaders,
  badSpellings,
  forge,
  type Members,
  partsOf,
  type Spelling,
} from '../support/forgeries.ts'
import { exchange, type RawAnswer } from '../support/raw.ts'
import { credentialsOf, nameOf, routes } from '../support/routes.ts'
import { longTestMs } from '../support/time-limits.js'

jest.setTimeout(longTestMs)

const requests = Number(process.env.FUZZ_REQUESTS || 500)
const runs = (share: number) => ({
  numRuns: Math.ceil(requests * share),
  ...(process.env.FUZZ_SEED && { seed: Number(process.env.FUZZ_SEED) }),
})

const listedOrigin = 'http://app.localhost:5173'
let t: TestApp
let server: Server
/** The client whose valid tokens are sent. */
let client: Client
/** The client whose tokens are sent only forged, or in a wrong place. */
let untouched: Client
let passwordHash: string
beforeAll(async () => {
  t = await createTestApp({ CORS_ORIGINS: listedOrigin, TRUST_PROXY: '1', ACCESS_TOKEN_SECONDS: '3600' })
  // If a request asks for an upgrade, Node does not report broken chunks. The time limit ends it, as in main.ts.
  const patience = { headersTimeout: 2_000, requestTimeout: 2_000, connectionsCheckingInterval: 200 }
  server = createServer(patience, t.app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  client = await register(t.app)
  untouched = await register(t.app)
  const [user] = await t.db.rows<{ hash: string }>(sql`SELECT password_hash AS hash FROM users`)
  passwordHash = user?.hash ?? ''
})
afterAll(async () => {
  server.close()
  await t.close()
})

// In a generated request, "<access>" and "<refresh>" are valid tokens, and "<access alg none>" is one forged this way.

const forgeries: Record<string, (token: string) => string> = {
  ...Object.fromEntries(
    Object.entries(badHeaders).flatMap(([name, changes]) =>
      changes.map((change) => [`${name} in ${JSON.stringify(change)}`, changed({ header: change })]),
    ),
  ),
  ...Object.fromEntries(
    Object.entries(badSpellings).map(([name, spell]) => [name, (token) => spelled(token, spell)]),
  ),
  'of the other kind': (token) => (isAccess(token) ? untouched.refreshToken : untouched.accessToken),
  'alg none': (token) => forge('', { alg: 'none', typ: 'JWT' }, claimsOf(token)).replace(/[^.]*$/, ''),
  jku: changed({ header: { jku: 'http://127.0.0.1:9/' } }),
  'another key': changed({ secret: 'x'.repeat(48) }),
  'an empty key': changed({ secret: '' }),
  iss: changed({ claims: { iss: 'http://evil.example' } }),
  aud: changed({ claims: { aud: [publicUrl, 'x'] } }),
  'sub SQL': changed({ claims: { sub: "' OR true--" } }),
  'sid unknown': changed({ claims: { sid: 'A'.repeat(22) } }),
  'sid NUL': changed({ claims: { sid: `${'A'.repeat(21)}\0` } }),
  'sid object': changed({ claims: { sid: { $ne: null } } }),
  'gen and role': changed({ claims: { gen: 2 ** 31, role: '' } }),
  'iat in the future': changed({ claims: { iat: 4e9, exp: 4e9 + 900 } }),
  expired: changed({ claims: { iat: 1, exp: 2, sid: 'A'.repeat(22) } }),
  'exp missing': changed({ claims: { exp: undefined } }),
  'exp 1e999': (token) => resigned(token, claimsOf(token).replace(/"exp":\d+/, '"exp":1e999')),
  'claims twice': (token) => resigned(token, claimsOf(token).repeat(2)),
  'claims deep': (token) => resigned(token, '['.repeat(2000)),
  percent: (token) => `%65${token.slice(1)}`,
  'j: text': (token) => `j:"${token}"`,
  'j: object': (token) => `j:{"__proto__":{"polluted":1},"x":"${token}"}`,
}

/** Makes tokens with changed members, or signed with another secret. */
function changed(change: { header?: Members; claims?: Members; secret?: string }) {
  return (token: string) => {
    const { header, claims } = partsOf(token)
    const secret = change.secret ?? secretOf(token)
    return forge(secret, { ...header, ...change.header }, { ...claims, ...change.claims })
  }
}

function spelled(token: string, spell: Spelling): string {
  const [head = '', body = '', signature = ''] = token.split('.')
  return spell(head, body, signature, secretOf(token))
}

const isAccess = (token: string) => partsOf(token).header.typ === 'at+jwt'
const secretOf = (token: string) => (isAccess(token) ? accessSecret : refreshSecret)
const claimsOf = (token: string) => JSON.stringify(partsOf(token).claims)
const resigned = (token: string, claims: string) => forge(secretOf(token), partsOf(token).header, claims)

const base64url = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
/** Returns the token with one other character. */
function mutated(token: string, at: number, by: number): string {
  const index = at % token.length
  const character = base64url[(base64url.indexOf(token[index] ?? '') + by) % base64url.length]
  return token.slice(0, index) + character + token.slice(index + 1)
}

/** Returns a token in the way that a request names. `of another` is the good token of another user. */
function forged(token: string, how: string): string {
  const [, at, by] = /^character (\d+) by (\d+)$/.exec(how) ?? []
  if (at) return mutated(token, Number(at), Number(by))
  return forgeries[how]?.(token) ?? token
}

function fill(text: string): string {
  const fields = {
    access: 'accessToken',
    refresh: 'refreshToken',
    email: 'email',
    session: 'sessionId',
  } as const
  return text.replace(
    /<(access|refresh|email|session)(?: ([^>]+))?>/g,
    (_all, name: keyof typeof fields, how) => {
      if (how === 'new') return newEmail()
      return how ? forged(untouched[fields[name]], how) : client[fields[name]]
    },
  )
}

// The requests. Generated text contains a canary, which must not appear in an answer or in the log.

const canary = 'c4n4ry'
/** Mostly the good value. */
const usually = <T>(good: T, ...others: fc.Arbitrary<T>[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 4 * others.length, arbitrary: fc.constant(good) }, ...others)
const latin1 = fc
  .string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)) })
  .map((text) => canary + text)
const headerText = latin1.map((text) => text.replace(/[^\t\x20-\x7e\x80-\xff]/g, '').trim())

const how = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...Object.keys(forgeries)) },
  fc.tuple(fc.nat(500), fc.integer({ min: 1, max: 63 })).map(([at, by]) => `character ${at} by ${by}`),
)
const oddAuthorizations: string[][] = [
  [],
  [''],
  ['Bearer'],
  ['Basic <access of another>'],
  ['Bearer <access of another>', 'Bearer <access of another>'],
  ['Bearer <access of another>, Bearer x'],
  ['bearer\t<access of another>'],
  [`Bearer ${'x'.repeat(8000)}`],
]
const authorization = fc.oneof(
  { weight: 4, arbitrary: how.map((how) => [`Bearer <access ${how}>`]) },
  fc.constantFrom(...oddAuthorizations),
  headerText.map((text) => [`Bearer ${text}`]),
)
const oddCookies: string[][] = [
  [],
  [''],
  [cookie('')],
  [`${cookie('<refresh of another>')}; ${cookie('<refresh of another>')}`],
  [cookie('<refresh of another>'), cookie('<refresh of another>')],
  [`${cookie('x')}; ${cookie('<refresh of another>')}`],
  ['__Host-refresh_token=<refresh of another>'],
  [`=${cookie('<refresh of another>')}`],
  [refreshCookieName],
  ['refresh_token=<refresh of another>'],
  [`__proto__=j:{"${refreshCookieName}":"<refresh of another>"}; constructor=x`],
  [cookie('x'.repeat(8000))],
]
const refreshCookie = fc.oneof(
  { weight: 4, arbitrary: how.map((how) => [cookie(`<refresh ${how}>`)]) },
  fc.constantFrom(...oddCookies),
  headerText.map((text) => [cookie(text)]),
)

const jsonText = fc.oneof(
  fc.constantFrom('null', 'true', '0', '-0', '1e999', '-1e999', '1e-999', '9'.repeat(400), '[]', '{}', '""'),
  fc.constantFrom('"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\ufeff"', '[["a@example.com"]]'),
  fc.constantFrom(
    '{"__proto__":{"polluted":1}}',
    '{"constructor":{"prototype":{"polluted":1}}}',
    '{"$ne":null}',
  ),
  fc.constantFrom('"<email>"', '" <email>"', '"<email new>"', `"${password}"`, `"${password} "`),
  fc.string({ unit: 'binary' }).map((text) => JSON.stringify(canary + text)),
  fc.integer({ min: 8000, max: 8200 }).map((length) => `"${canary.padEnd(length, 'x')}"`),
  fc.tuple(fc.nat(40), fc.constantFrom('[', '{"a":')).map(([depth, open]) => open.repeat(depth)),
  fc.json({ maxDepth: 40 }),
)
const names = ['email', 'password', 'currentPassword', 'newPassword', '__proto__', 'constructor', canary, '']
const member = fc.tuple(fc.constantFrom(...names), jsonText).map(([name, value]) => `"${name}":${value}`)
const object = (members: string[]) => `{${members.join()}}`
/** Bodies for a route that requires these members. */
const bodyLike = (good: string[]) =>
  usually<{ text: string; encoding?: BufferEncoding }>(
    { text: good.length > 0 ? object(good) : '' },
    fc.array(member, { maxLength: 3 }).map((more) => ({ text: object([...good, ...more]) })),
    fc.array(member, { maxLength: 3 }).map((members) => ({ text: object(members) })),
    fc.tuple(fc.nat(1), jsonText).map(([at, value]) => ({
      text: object(good.map((pair, index) => (index === at ? pair.replace(/:.*/, () => `:${value}`) : pair))),
    })),
    fc.nat(8).map((at) => ({ text: object(good.filter((_, index) => index !== at)) })),
    jsonText.map((text) => ({ text })),
    fc.nat(100).map((length) => ({ text: object(good).slice(0, length) })),
    fc.integer({ min: 8190, max: 8194 }).map((length) => ({ text: object(good).padEnd(length) })),
    fc.constantFrom('[', '{"a":', '"', '\ufeff').map((text) => ({ text: text.repeat(1300) })),
    fc.constantFrom('utf16le', 'latin1').map((encoding) => ({ text: `\ufeff${object(good)}`, encoding })),
    latin1.map((text) => ({ text, encoding: 'latin1' })),
    latin1.map((text) => ({ text: object([...good, `"${text}":0`]), encoding: 'latin1' })),
  )

const headers: Record<string, string[]> = {
  Accept: ['text/html', '*/*;q=0'],
  'Accept-Encoding': ['gzip, br'],
  'Access-Control-Request-Method': ['POST', 'x'],
  'Access-Control-Request-Headers': ['authorization', canary],
  'Cache-Control': ['only-if-cached'],
  Connection: ['close', 'close, upgrade', 'keep-alive, authorization'],
  'Content-Encoding': ['gzip', 'identity', ''],
  'Content-Type': [
    ...['application/json;', 'application/json; charset=utf-16', 'application/json; charset="'],
    ...['application/problem+json', 'text/plain', 'multipart/form-data; boundary=x', ''],
  ],
  Cookie: ['j:[]', '__proto__=j:{"polluted":1}', 'a=%', ';;=;', 'x='.repeat(2000)],
  Forwarded: [`for=${canary}`],
  'If-Match': ['"x"'],
  'If-Modified-Since': ['Fri, 01 Jan 2100 00:00:00 GMT', canary],
  'If-None-Match': ['*', '""', 'W/"x"'],
  'If-Unmodified-Since': ['Thu, 01 Jan 1970 00:00:00 GMT'],
  Origin: [publicUrl, listedOrigin, 'null', '', `${listedOrigin}.evil.example`, `${publicUrl}1`, canary],
  Range: ['bytes=0-1', 'bytes=-'],
  'Sec-Fetch-Mode': ['no-cors'],
  'Sec-Fetch-Site': ['same-origin', 'same-site', 'cross-site', 'none', canary],
  TE: ['trailers'],
  Upgrade: ['websocket', 'h2c'],
  'User-Agent': ['', 'x'.repeat(5000)],
  'X-Forwarded-For': ['127.0.0.1', '::ffff:1.2.3.4', ','.repeat(99), "'; DROP TABLE users--", '\xff', canary],
  'X-Forwarded-Host': [canary],
  'X-Forwarded-Proto': ['https', 'javascript'],
  'X-HTTP-Method-Override': ['DELETE'],
  'X-Request-Id': [canary],
  __proto__x: [canary],
}
const ownsFraming = ['Connection', 'Upgrade', 'TE']
const header = fc.oneof(
  ...Object.entries(headers).map(([name, values]) =>
    fc.tuple(
      fc.constant(name),
      ownsFraming.includes(name)
        ? fc.constantFrom(...values)
        : usually(values[0] ?? '', fc.constantFrom(...values), headerText),
    ),
  ),
  fc.tuple(fc.constantFrom('__proto__', 'constructor', 'hasOwnProperty', 'X'), headerText),
)

const segment = fc.oneof(
  fc.constantFrom(...'<session> %00 %ff %zz % .. ..%2f %2e%2e __proto__'.split(' '), 'A'.repeat(3000)),
  latin1.map(encodeURIComponent),
  fc.stringMatching(/^[!-~]{0,20}$/).map((text) => canary + text.replaceAll('<', '')),
)
const prefixes = [
  publicUrl,
  `https://user:${canary}@x`,
  'http://',
  'http://[x',
  'http://a:b',
  '/',
  '//',
  '/.',
  '/..;',
]
const oddTargets = ['/', '//', '/?', '/%', '*']
const targetLike = (path: string) =>
  usually(
    path,
    segment.map((text) => `${path}?${text}`),
    segment.map((text) => `${path}/${text}`),
    segment.map((text) => `/${text}${path}`),
    segment.map((text) => `/auth/sessions/${text}`),
    segment.map((text) => `/${text}`),
    fc
      .constantFrom(...path.replaceAll('/', ''))
      .map((letter) => path.replace(letter, `%${Buffer.from(letter).toString('hex')}`)),
    fc.constantFrom(...prefixes).map((prefix) => prefix + path),
    fc.constantFrom(`${path}/`, path.toUpperCase(), `${path}#${canary}`, `${path};x`, ...oddTargets),
  )

const methods = 'GET HEAD POST PUT PATCH DELETE OPTIONS TRACE PROPFIND M-SEARCH SOURCE'.split(' ')
const values: Record<string, string> = {
  email: '"<email>"',
  password: `"${password}"`,
  currentPassword: `"${password}"`,
  newPassword: `"${password}!"`,
}

// Outside of development there is no demo.
const served = routes.filter(({ hidden }) => !hidden)

/** The path of a route, and what a good request to it has. */
function requestTo(route: Route) {
  const [method = '', path = ''] = nameOf(route).split(' ')
  const members = Object.keys(route.example ?? {}).map((name) => `"${name}":${values[name] ?? '"x"'}`)
  const isNew = route.name === 'register'
  return {
    method,
    path: path.replace(':id', '<session>').replace(':file', 'start.js'),
    members: isNew ? members.map((member) => member.replace('<email>', '<email new>')) : members,
    needs: credentialsOf(route),
  }
}

const request = fc.oneof(
  ...served.map(requestTo).map(({ method, path, members, needs }) =>
    fc.record({
      method: usually(method, fc.constantFrom(...methods)),
      target: targetLike(path),
      authorization: usually(needs === 'accessToken' ? ['Bearer <access>'] : [], authorization),
      cookies: usually(needs === 'refreshToken' ? [cookie('<refresh>')] : [], refreshCookie),
      body: bodyLike(members),
      headers: fc.array(header, { maxLength: 6 }),
      chunked: fc.boolean(),
    }),
  ),
)
type Generated = typeof request extends fc.Arbitrary<infer T> ? T : never

/** The paths of routes that need an access token. */
const guarded = served
  .filter((route) => credentialsOf(route) === 'accessToken')
  .map(({ path }) => new RegExp(`${path.replace(':id', '[^/]+')}(?![\\w/-])`))

/** The bytes of a request, as latin1. */
function written({ method, target, authorization, cookies, body, headers, chunked }: Generated): string {
  const bytes = Buffer.from(fill(body.text), body.encoding).toString('latin1')
  const declared = headers.some(([name]) => name === 'Content-Type')
  const lines = [
    `${method} ${target} HTTP/1.1`,
    'Host: localhost:3000',
    ...authorization.map((value) => `Authorization: ${value}`),
    ...cookies.map((value) => `Cookie: ${value}`),
    ...headers.map(([name, value]) => `${name}: ${value}`),
    ...(bytes && !declared ? ['Content-Type: application/json'] : []),
    ...(chunked
      ? ['Transfer-Encoding: chunked']
      : bytes || method === 'POST'
        ? [`Content-Length: ${bytes.length}`]
        : []),
  ]
  const chunk = bytes && `${bytes.length.toString(16)};${canary}="x"\r\n${bytes}\r\n`
  return `${fill(lines.join('\r\n'))}\r\n\r\n${chunked ? `${chunk}0\r\nX: ${canary}\r\n\r\n` : bytes}`
}

// The checks.

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const goodRequest = 'GET /livez HTTP/1.1\r\nHost: localhost:3000\r\nConnection: close\r\n\r\n'
const paths = ['', ...new Set(routes.flatMap(({ example }) => Object.keys(example ?? {})))]

function expectByContract({ status, headers, body }: RawAnswer, method: string, clockIsWrong = false): void {
  expect(headers.get('X-Request-Id')).toMatch(uuid)
  // Only the public keys may be cached.
  expect(status === 200 ? ['no-store', 'public, max-age=30'] : ['no-store']).toContain(
    headers.get('Cache-Control'),
  )
  expect(headers.get('Vary')).toContain('Origin')
  expect(headers.get('ETag') ?? headers.get('X-Powered-By')).toBeNull()
  if (status < 400) expect([200, 201, 202, 204]).toContain(status)
  else if (!(clockIsWrong && status === 503)) expect(status).toBeLessThan(500)
  if (status >= 400) expect(`${[...headers]}${body}`).not.toContain(canary)
  expect(body).not.toContain(client.refreshToken)
  if (method === 'HEAD' || status === 204) return void expect(body).toBe('')
  const type = headers.get('Content-Type')
  if (status < 400)
    return void expect(type).toMatch(/^(application\/json|text\/(html|javascript)); charset=utf-8$/)
  expect(type).toBe('application/problem+json; charset=utf-8')
  const { errors = [], ...problem } = JSON.parse(body)
  // The exact text of its code. So it cannot contain an echo, a stack or internals.
  const code: ErrorCode = problem.code
  const requestId = headers.get('X-Request-Id')
  const title = STATUS_CODES[status]
  const detail = problem.detail === twoCookiesDetail ? twoCookiesDetail : problems[code].detail
  expect(problem).toEqual({
    type: `urn:problem-type:${code}`,
    title,
    code,
    ...problems[code],
    detail,
    requestId,
  })
  expect(problem.status).toBe(status)
  for (const error of errors) expect(paths).toContain(error.path)
}

const isFromTheFuture = (cookies: string) => cookies.includes('<refresh iat in the future>')

/** Expects that only token answers set the refresh cookie, and only logouts and refused refreshes clear it. */
function expectCookieByContract({ status, headers, body }: RawAnswer, { method, target }: Generated): void {
  const [set, ...more] = headers
    .getSetCookie()
    .filter((line) => line.startsWith(`${refreshCookieName}=`) && /; Path=\/(;|$)/.test(line))
  const [, path] = /^(?:\w+:\/\/[^/]*)?(\/[^?#]*)/.exec(target) ?? []
  expect(more).toEqual([])
  const gives =
    status < 300 &&
    method === 'POST' &&
    /^\/auth\/(register|login|refresh|reauthenticate|password)$/.test(path ?? '')
  const takes =
    method === 'POST' &&
    ((status === 204 && /^\/auth\/logout(-all)?$/.test(path ?? '')) ||
      (status === 401 && path === '/auth/refresh'))
  expect(set === undefined ? 'kept' : set.startsWith(`${refreshCookieName}=;`) ? 'taken' : 'given').toBe(
    gives ? 'given' : takes ? 'taken' : 'kept',
  )
  expect(body.includes('"accessToken":"')).toBe(gives)
}

/** Expects that only valid tokens are accepted, and that no other token changes its session. */
async function expectNoForgeryPassed({ status }: RawAnswer, sent: Generated): Promise<void> {
  const { method, target, authorization, cookies } = sent
  if (status < 300 && guarded.some((path) => path.test(target)))
    expect(authorization).toEqual(['Bearer <access>'])
  if (status < 300 && /\/auth\/refresh/.test(target)) expect(cookies).toEqual([cookie('<refresh>')])
  if (!['POST', 'DELETE'].includes(method) || (status >= 300 && status !== 401)) return
  expect(await beginAgain()).not.toContain(untouched.sessionId)
}

/** Resets both clients. Returns those of their sessions that had changed. */
async function beginAgain(): Promise<string[]> {
  const used = await t.db.rows<{ id: string }>(sql`
    UPDATE sessions SET generation = 1, ended_at = NULL, end_reason = NULL
    WHERE id IN (${client.sessionId}, ${untouched.sessionId}) AND (generation > 1 OR ended_at IS NOT NULL)
    RETURNING id`)
  await t.db.rows(sql`
    UPDATE users SET password_hash = ${passwordHash} WHERE id = ${client.userId} AND password_hash <> ${passwordHash}`)
  return used.map(({ id }) => id)
}

/** The server does not read the rest of a longer head. */
const longest = 16_000

test('answers every generated request as the contract says, and continues to serve', async () => {
  const seen = new Set<number>()
  const started = performance.now()

  await fc.assert(
    fc.asyncProperty(request, async (sent) => {
      const closes = sent.headers.some(([name, value]) => name === 'Connection' && value.startsWith('close'))
      const bytes = written(sent)
      fc.pre(bytes.length < longest)

      const answers = await exchange(server, bytes + (closes ? '' : goodRequest))

      const [answer, next = (await exchange(server, goodRequest))[0], ...more] = answers
      if (!answer) throw new Error('there is no answer')
      expectByContract(answer, sent.method, sent.cookies.some(isFromTheFuture))
      expectCookieByContract(answer, sent)
      await expectNoForgeryPassed(answer, sent)
      expect(next).toMatchObject({ status: 200, body: '{"status":"ok"}' })
      expect(more).toEqual([])
      seen.add(answer.status)
    }),
    runs(0.8),
  )

  process.stderr.write(`${Math.round((requests * 800) / (performance.now() - started))} requests/s\n`)
  expect([...seen]).toEqual(expect.arrayContaining([200, 201, 204, 400, 401, 404, 405]))
})

const edit = fc.record({
  at: fc.nat(5000),
  remove: fc.nat(3),
  insert: fc.oneof(
    fc.constantFrom('', '\r', '\n', '\0', '\t', '\r\n', '\r\n ', '\r\n\r\n', ' ', ':', '-', '9', '\xff'),
    fc
      .constantFrom('Host: x', 'Content-Length: 5', 'Transfer-Encoding: chunked')
      .map((line) => `\r\n${line}`),
    latin1,
  ),
})
// Ends every request that the edits left open. It is too long as a head, body or chunk, and invalid as a request.
const tooMuch = 'x'.repeat(20_000)

test('closes the connection after any bytes, and never answers 500', async () => {
  await fc.assert(
    fc.asyncProperty(request, fc.array(edit, { minLength: 1, maxLength: 3 }), async (sent, edits) => {
      const bytes = edits.reduce((text, { at, remove, insert }) => {
        const index = at % text.length
        return text.slice(0, index) + insert + text.slice(index + remove)
      }, written(sent))

      const answers = await exchange(server, bytes, tooMuch)

      for (const answer of answers) {
        // The parser refuses some requests before they reach a route.
        if (answer.headers.has('X-Request-Id')) expectByContract(answer, sent.method)
        else expect([400, 408, 413, 417, 431]).toContain(answer.status)
      }
      expect(await exchange(server, goodRequest)).toMatchObject([{ status: 200 }])
      await beginAgain()
    }),
    runs(0.2),
  )
})

const get = (...lines: string[]) => ['GET /livez HTTP/1.1', 'Host: x', ...lines, '', ''].join('\r\n')

test.each([
  ['a Content-Length with a sign', 400, `${get('Content-Length: +2')}{}`],
  ['chunks that are encoded again', 400, `${get('Transfer-Encoding: chunked, gzip')}0\r\n\r\n`],
  ['a bare CR', 400, get('X: a\rb')],
  ['bare LFs', 400, 'GET /livez HTTP/1.1\nHost: x\n\n'],
  ['NUL in a header', 400, get('X: \0')],
  ['a blank before the colon', 400, get('X : a')],
  ['a header of 20 kB', 431, get(`X: ${tooMuch}`)],
  ['a target of 20 kB', 431, `GET /${tooMuch} HTTP/1.1\r\nHost: x\r\n\r\n`],
  ['a method in lower case', 400, 'get /livez HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['an unknown method', 400, 'FETCH /livez HTTP/1.1\r\nHost: x\r\n\r\n'],
  [
    'a broken chunk in a request for an upgrade',
    408,
    `${get('Connection: upgrade', 'Upgrade: websocket', 'Transfer-Encoding: chunked').replace('GET /livez', 'POST /auth/logout')}1\r\n{\r\n\r\nx`,
  ],
  ['a target without a slash', 400, 'GET livez HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['an unknown expectation', 417, get('Expect: x', 'Connection: close')],
  ['HTTP/0.9, which is read as 1.0', 200, 'GET /livez\r\n\r\n'],
  ['HTTP/2', 400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['TLS', 400, '\x16\x03\x01\x02\0\x01\0\x01'],
])('%s: answers %d and closes the connection', async (_what, status, bytes) => {
  expect(await exchange(server, bytes)).toMatchObject([{ status }])
})

test('after all requests, users can still log in, and the log contains only paths and refused origins of requests', async () => {
  await beginAgain()
  const { body } = await send(server, 'POST /auth/refresh', { token: untouched.refreshToken }).expect(200)
  expect(body.user.email).toBe(untouched.email)
  expect(({} as Members).polluted).toBeUndefined()
  const log = JSON.stringify(t.log, (key, value) => (['path', 'origin'].includes(key) ? undefined : value))
  for (const secret of [canary, password, client.accessToken, client.refreshToken])
    expect(log).not.toContain(secret)
  const origins = t.log.flatMap(({ origin }) => (origin === undefined ? [] : [origin]))
  expect(origins).toEqual(origins.map(() => expect.stringMatching(/^[ -~]{0,200}$/)))
  expect(t.log.filter(({ level }) => Number(level) >= 50)).toEqual([])
})
