// Faults that attacks on the running server have found, each by the request that showed it.

import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { cookie, createTestApp, refresh, register, type TestApp } from '../support/app.ts'

jest.setTimeout(30_000)

let t: TestApp
let server: Server
beforeAll(async () => {
  t = await createTestApp()
  server = createServer(t.app).listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await t.close()
})

/** Writes bytes to the server and returns what it answers until it closes the connection. */
async function raw(bytes: string): Promise<string> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  let answer = ''
  socket.setEncoding('latin1').on('data', (text) => {
    answer += text
  })
  socket.on('error', () => {})
  socket.write(bytes, 'latin1')
  await once(socket, 'close')
  return answer
}

test('C2 a cookie whose name only looks like ours does not keep the session alive at logout', async () => {
  const { refreshToken } = await register(t.app)

  const answer = await raw(
    `POST /auth/logout HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\nCookie: ${cookie(refreshToken)}; \xa0refresh_token=x\r\n\r\n`,
  )

  expect(answer).toMatch(/^HTTP\/1.1 204/)
  expect((await refresh(t.app, refreshToken)).body.code).toBe('session_ended')
})

test.each([
  ['a declared length', 'Content-Length: 99999999\r\n\r\n{'],
  ['chunks without an end', `Transfer-Encoding: chunked\r\n\r\n2100\r\n${' '.repeat(0x2100)}\r\n`],
])('F1 answers 413 to %s before all of it has come, and closes', async (_what, rest) => {
  const answer = await raw(`POST /auth/login HTTP/1.1\r\nHost: localhost\r\n${rest}`)

  expect(answer).toMatch(/^HTTP\/1.1 413/)
  expect(answer).toContain('"code":"payload_too_large"')
})

test('the log has no credentials or fragment of an address', async () => {
  await raw(
    'GET http://user:pa55word@localhost/livez#t0ken HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
  )

  expect(JSON.stringify(t.log)).not.toMatch(/pa55word|t0ken/)
  expect(t.log.at(-1)).toMatchObject({ req: { method: 'GET', path: '/livez' } })
})
