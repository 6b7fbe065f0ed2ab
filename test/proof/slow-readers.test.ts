import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import { withTimeToRead } from '../../src/http/connections.ts'

const answer = Buffer.alloc(30_000_000)

async function serve(milliseconds: number, body = answer) {
  const server = createServer(withTimeToRead((_req, res) => void res.end(body), milliseconds))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return server
}

test('closes the connection of a client that reads its answer too slowly [F3]', async () => {
  const server = await serve(500)
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').pause()
  socket.on('error', () => {})
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')

  let taken = 0
  const [connection] = await once(server, 'connection')
  while (!connection.closed) {
    taken += socket.read(1000)?.length ?? 0
    await delay(20)
  }
  socket.destroy()
  server.close()

  expect(taken).toBeGreaterThan(0)
  expect(taken).toBeLessThan(answer.length)
})

test('keeps the connection of a client that reads its answers in time [F3]', async () => {
  const small = answer.subarray(0, 100_000)
  const server = await serve(3000, small)
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').resume()
  for (let times = 0; times < 2; times++) {
    let taken = 0
    const take = (chunk: Buffer) => {
      taken += chunk.length
    }
    socket.on('data', take).write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    while (taken < small.length && !socket.closed) await delay(10)
    socket.off('data', take)
    await delay(3100)
  }

  expect(socket.closed).toBe(false)
  socket.destroy()
  server.close()
})

test('keeps the connection of a client that waits for a late answer [F3]', async () => {
  const server = createServer(
    withTimeToRead((_req, res) => void delay(1500).then(() => res.end('late')), 60_000),
  )
  server.timeout = 200
  await once(server.listen(0, '127.0.0.1'), 'listening')

  const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const text = await answer.text()
  server.closeAllConnections()
  server.close()

  expect(text).toBe('late')
})

test('closes the connection of a client that reads nothing of its answer [F3]', async () => {
  const server = await serve(600_000)
  server.timeout = 200
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').pause()
  socket.on('error', () => {})
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')

  const [connection] = await once(server, 'connection')
  await once(connection, 'close')
  let taken = 0
  socket.on('data', (chunk) => {
    taken += chunk.length
  })
  socket.resume()
  await once(socket, 'close')
  server.close()

  expect(taken).toBeGreaterThan(0)
  expect(taken).toBeLessThan(answer.length)
})
