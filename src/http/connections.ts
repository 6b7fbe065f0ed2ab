import type { RequestListener } from 'node:http'
import type { Socket } from 'node:net'
import type { Express } from 'express'

const atOncePerConnection = 8

/**
 * Closes connections that send many requests before they have the answer to the first (RFC 9112, 9.3.2). Node would start
 * all of them at once, thousands in one packet, and serve no other client in the meantime.
 */
export function withBoundedPipelining(listener: RequestListener): RequestListener {
  const requests = new WeakMap<Socket, number>()
  return (req, res) => {
    const { socket } = req
    const count = (requests.get(socket) ?? 0) + 1
    if (count > atOncePerConnection) return void socket.destroy()
    requests.set(socket, count)
    res.once('close', () => requests.set(socket, (requests.get(socket) ?? 1) - 1))
    listener(req, res)
  }
}

/**
 * Closes a connection if its client has not read the response within `milliseconds` after the request. Also closes it
 * if no byte of a response moves for the server's timeout.
 */
export function withTimeToRead(listener: RequestListener, milliseconds: number): RequestListener {
  return (req, res) => {
    const timer = setTimeout(() => req.socket.destroy(), milliseconds).unref()
    res.once('close', () => clearTimeout(timer))
    // Node would also close connections whose response has not begun, such as logins in the queue for hashes.
    res.on('timeout', (socket: Socket) => {
      if (socket.writableLength > 0) socket.destroy()
    })
    listener(req, res)
  }
}

/** Turns a target that cannot be parsed into one that no route has. Express would answer it by itself, in HTML. */
export function withParsableTarget(app: Express): RequestListener {
  return (req, res) => {
    const { url = '' } = req
    if (!url.startsWith('/') && !URL.canParse(url)) req.url = '/*'
    app(req, res)
  }
}
