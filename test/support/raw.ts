import { once } from 'node:events'
import type { Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { answerMs } from './time-limits.js'

/** An answer as it was received. */
export interface RawAnswer {
  status: number
  headers: Headers
  body: string
}

/**
 * Sends bytes, given as latin1, to a server. Reads until the server closes the connection.
 * @param after more bytes, sent when an answer begins, or after a pause without one
 * @returns the answers without the interim ones (1xx)
 * @throws if the server is silent and keeps the connection open
 */
export async function exchange(server: Server, bytes: string, after = ''): Promise<RawAnswer[]> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  let text = ''
  let silent = false
  socket.setEncoding('latin1').on('data', (more) => {
    text += more
  })
  socket.on('error', () => {}) // Reset, where the server closes before it has read everything.
  socket.setTimeout(answerMs, () => {
    silent = true
    socket.destroy()
  })
  // `once` of node:events would reject if an error comes first.
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.write(bytes, 'latin1')
  if (after) {
    await Promise.race([once(socket, 'data'), closed, delay(20)])
    socket.write(after)
  }
  await closed
  if (silent) throw new Error(`no answer, and the connection left open; so far: ${JSON.stringify(text)}`)
  return text.split(/(?=HTTP\/1\.1 \d{3} )/).flatMap(parse)
}

function parse(text: string): RawAnswer[] {
  const [head = '', body = ''] = text.split(/\r\n\r\n(.*)/s)
  const [statusLine = '', ...lines] = head.split('\r\n')
  const status = Number(statusLine.split(' ')[1])
  if (!(status >= 200)) return []
  return [
    {
      status,
      headers: new Headers(lines.map((line) => line.split(/: ?(.*)/s, 2) as [string, string])),
      body,
    },
  ]
}
