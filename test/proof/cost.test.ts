// Sends text that is slow for bad regular expressions and parsers, in every header, path and body that the server reads
// raw, at the largest accepted size. Compares the CPU time with that of harmless text of the same size. CPU time instead
// of elapsed time, because a busy machine does not change it.

import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { operatorListener } from '../../src/http/metrics.ts'
import { createTestApp, newEmail, password, refreshCookieName, type TestApp } from '../support/app.ts'
import { exchange } from '../support/raw.ts'

let t: TestApp
let server: Server
/** The port of METRICS_PORT. */
let operators: Server
beforeAll(async () => {
  t = await createTestApp({
    TRUST_PROXY: '127.0.0.1,10.0.0.0/8,fd00::/8',
    CORS_ORIGINS: 'https://app.example.com',
    LIMIT_LOGIN_ADDRESS: '1000000/900', // So that the address is read.
  })
  server = createServer(t.app)
  operators = createServer(
    operatorListener(t.metrics, { droppedLogLines: () => 0, hosts: ['metrics.example'] }),
  )
  for (const one of [server, operators]) {
    one.maxHeadersCount = 0 // As in main.ts.
    one.listen(0, '127.0.0.1')
    await once(one, 'listening')
  }
})
afterAll(async () => {
  for (const one of [server, operators]) {
    one.closeAllConnections()
    one.close()
  }
  await t.close()
})

const headerBytes = 15_800 // Node takes 16 KiB of headers in all.
const bodyBytes = 8_100

interface Reader {
  of: string
  bytes: number
  request: (text: string) => string
  toOperators?: boolean
}

const request = (line: string, headers: string[] = [], body = '') =>
  `${line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: ${body.length}\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n${body}`
const json = 'Content-Type: application/json'
const credentials = (email: string, secret = password) =>
  Buffer.from(JSON.stringify({ email, password: secret })).toString('latin1')

const header = (name: string, line = 'POST /auth/refresh', before = ''): Reader => ({
  of: `${name}: ${before}… of ${line}`,
  bytes: headerBytes,
  request: (text) => request(line, [`${name}: ${before}${text}`]),
})
const headerOfLogin = (name: string): Reader => ({
  of: `${name}: … of a login`,
  bytes: headerBytes,
  request: (text) =>
    request('POST /auth/login', [json, `${name}: ${text}`], credentials('nobody@example.com')),
})
const target = (line: string): Reader => ({
  of: `${line}…`,
  bytes: headerBytes,
  request: (text) => request(`${line}${text.replaceAll(' ', '+').replaceAll('\t', '+')}`),
})
const body = (of: string, write: (text: string) => string, line = 'POST /auth/login'): Reader => ({
  of: `${of} of ${line}`,
  bytes: bodyBytes,
  request: (text) => request(line, [json], write(text)),
})

const readers: Reader[] = [
  header('Cookie'),
  header('Cookie', 'POST /auth/logout'),
  header('Cookie', 'POST /auth/refresh', `${refreshCookieName}=`),
  header('Cookie', 'POST /auth/refresh', `${refreshCookieName}=x; ${refreshCookieName}=`),
  headerOfLogin('Cookie'),
  header('Authorization', 'GET /users/me'),
  header('Authorization', 'GET /users/me', 'Bearer '),
  headerOfLogin('X-Forwarded-For'),
  ...['Origin', 'Host', 'Sec-Fetch-Site', 'Forwarded', 'X-Forwarded-Proto', 'X-Request-Id', 'User-Agent'].map(
    (name) => header(name),
  ),
  {
    of: 'Content-Type: … of a body',
    bytes: headerBytes,
    request: (text) => request('POST /auth/logout', [`Content-Type: ${text}`], '{}'),
  },
  header('Access-Control-Request-Headers', 'OPTIONS /auth/login'),
  ...['Accept', 'If-None-Match', 'If-Modified-Since', 'Cache-Control', 'Range', 'traceparent'].map((name) =>
    header(name, 'GET /livez'),
  ),
  ...['GET /', 'GET /livez?', 'GET /docs/', 'GET http://', 'GET http://localhost/'].map(target),
  target('DELETE /auth/sessions/'),
  { ...target('GET /'), of: 'GET /… of METRICS_PORT', toOperators: true },
  {
    of: 'Host: … of METRICS_PORT',
    bytes: headerBytes,
    request: (text) => `GET /keys HTTP/1.1\r\nHost: ${text}\r\nConnection: close\r\n\r\n`,
    toOperators: true,
  },
  body('body', (text) => text),
  body('array', (text) => `[${text}]`),
  body('object', (text) => `{${text}}`),
  body('body', (text) => text, 'POST /auth/logout'),
  body('email', (text) => credentials(text)),
  body('domain', (text) => credentials(`a@${text}`)),
  body('password', (text) => credentials(newEmail(), text), 'POST /auth/register'),
]

const units =
  `; a; a=; = a= a=1; a=%; a=%ff; a=j:{; " \\ \\" a="b"; , a, 10.0.0.1, ::1, [::1]:1, unknown, for=_x,
  . a. .. @ a@ - a- / /. ./ ../ % %20 %zz ? # & a& : a: 1 1. 0 xn-- xn--a. q=0. ;q=1, * */*, ( ) [ ] { } [] {} [],
  {"a": "a":1, "a", {"a":1}, \\u0000 "\\u0000", // /* */ W/"a", bytes= 0-, no-cache, eyJ A AAAA. _ + ! true, 1e9,`
    .trim()
    .split(/\s+/)
    .concat(' ', '\t', ' \t', '; ', ' ,', 'no-cache ,', '\xa0', '\xff', 'é', '\u0301\u0316')

const repeated = (unit: string, bytes: number) => unit.repeat(Math.ceil(bytes / unit.length)).slice(0, bytes)
const numbered = (write: (index: number) => string, bytes: number) =>
  Array.from({ length: bytes / 5 }, (_, index) => write(index))
    .join('')
    .slice(0, bytes)
/** Letters without a pattern. */
const harmless = (bytes: number) =>
  Array.from({ length: bytes }, (_, i) => String.fromCharCode(97 + ((i * i * 7 + i * 3) % 26))).join('')

function hostile(bytes: number): [what: string, text: string][] {
  return [
    ...units.map((unit): [string, string] => [unit, `a${repeated(unit, bytes - 2)}x`]),
    ['numbered cookies', numbered((index) => `${index}=;`, bytes)],
    ['numbered members', numbered((index) => `"${index}":1,`, bytes)],
  ]
}

/** Returns the CPU time of a request in milliseconds: the least of several, because other work may add to one. */
async function cost(reader: Reader, text: string, times: number): Promise<number> {
  const bytes = reader.request(text)
  const costs: number[] = []
  while (costs.length < times) {
    const before = process.cpuUsage()
    const [answer] = await exchange(reader.toOperators ? operators : server, bytes)
    const { user, system } = process.cpuUsage(before)
    costs.push((user + system) / 1000)
    // Otherwise the server has not read the text.
    if (answer?.status === 431) throw new Error(`${bytes.length} bytes are more than Node lets through`)
  }
  return Math.min(...costs)
}

const dearestFactor = 15

test.each(readers)(
  '$of: hostile text takes little more CPU time than harmless text of the same size [G9]',
  async (reader) => {
    const base = await cost(reader, harmless(reader.bytes), 5)
    const dear: [string, number][] = []

    for (const [what, text] of hostile(reader.bytes)) {
      const cheap =
        (await cost(reader, text, 1)) < dearestFactor * base ||
        (await cost(reader, text, 10)) < dearestFactor * base
      if (!cheap) dear.push([what, await cost(reader, text, 1)])
    }

    expect(dear).toEqual([])
  },
)
