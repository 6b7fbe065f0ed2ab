import { Server } from 'node:http'
import { expect, test } from '@jest/globals'
import { listen, localUrl } from '../../src/http/server.ts'

/** Returns a server that cannot listen, for the reason of `code`. */
function failing(code: string): Server {
  const server = new Server()
  server.listen = () => {
    server.emit('error', Object.assign(new Error('listen'), { code }))
    return server
  }
  return server
}

test.each([
  ['EADDRINUSE', '127.0.0.1', 'Port 80 is taken. Stop the process that listens on it, or change PORT.'],
  ['EADDRNOTAVAIL', '::2', 'Cannot listen on [::2]:80 (EADDRNOTAVAIL). Change HOST or PORT.'],
  [
    'EACCES',
    '0.0.0.0',
    'Cannot listen on 0.0.0.0:80 (EACCES). Change HOST or PORT, or allow this user to use the port.',
  ],
])('a server that cannot listen says what to change: %s', async (code, host, message) => {
  await expect(listen(failing(code), host, 80, 'PORT')).rejects.toThrow(message)
})

test.each([
  ['127.0.0.1', 'http://localhost:3000'],
  ['0.0.0.0', 'http://localhost:3000'],
  ['::', 'http://localhost:3000'],
  ['192.0.2.1', 'http://192.0.2.1:3000'],
  ['2001:db8::1', 'http://[2001:db8::1]:3000'],
])('a server at %s has the URL %s on its own machine', (host, url) => {
  expect(localUrl(host, 3000)).toBe(url)
})
