import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { generationOf } from '../../support/server.ts'

/** What the gate does instead of forwarding requests and answers. */
export type Trick =
  /** Forwards the request, and cuts the connection before the answer. */
  | 'lose'
  /** Forwards nothing, and does not answer. */
  | 'hang'
  /** Forwards the answer so many milliseconds later. */
  | number
  /** Answers this, without the server. */
  | { status: number; type: string; body: string; headers?: Record<string, string> }

export interface Asked {
  method: string
  url: string
  headers: IncomingMessage['headers']
  body: string
}

/** A proxy in front of the server. It counts, delays, loses and invents answers. */
export interface Gate {
  url: string
  /** Status and generation of every refresh that the server has answered. */
  refreshes: { status: number; generation: number | undefined }[]
  /** Every answer that was forwarded. */
  answers: { method: string; url: string; status: number; body: string }[]
  /** Every request, also those that a trick has answered. The body arrives after the rest. */
  asked: Asked[]
  /** Returns the number of requests to a path. */
  count(path: string): number
  /** Plays a trick on the next requests to a path. Without a number, on all of them. */
  play(path: string, trick: Trick, times?: number): void
  /** Ends all tricks. */
  relent(): void
  /** Resets connections, and accepts no new ones. */
  shut(): void
  open(): void
  close(): void
}

/** @param server returns where requests go. Called at each request, because the gate starts before the server */
export async function createGate(server: () => string): Promise<Gate> {
  const refreshes: Gate['refreshes'] = []
  const answers: Gate['answers'] = []
  const asked: Gate['asked'] = []
  const counts = new Map<string, number>()
  let tricks: { path: string; trick: Trick; left: number }[] = []
  const sockets = new Set<Socket>()
  let shut = false

  const listener = async (req: IncomingMessage, res: ServerResponse) => {
    const [path = ''] = req.url?.split('?') ?? []
    const { method = 'GET', url: target_ = '/', headers } = req
    const one: Asked = { method, url: target_, headers, body: '' }
    asked.push(one)
    req.on('data', (bytes) => {
      one.body += bytes
    })
    if (req.method !== 'OPTIONS') counts.set(path, (counts.get(path) ?? 0) + 1)
    const played = tricks.find((one) => one.path === path && one.left > 0)
    if (played && req.method !== 'OPTIONS') played.left--
    const trick = req.method === 'OPTIONS' ? undefined : played?.trick
    if (trick === 'hang') return
    if (typeof trick === 'object') {
      const cors = {
        'Access-Control-Allow-Origin': req.headers.origin ?? '*',
        'Access-Control-Allow-Credentials': 'true',
      }
      return void res
        .writeHead(trick.status, { 'Content-Type': trick.type, ...cors, ...trick.headers })
        .end(trick.body)
    }
    const target = new URL(server())
    const onward = request({
      port: target.port,
      host: target.hostname,
      method,
      path: target_,
      headers,
    })
    req.pipe(onward)
    // The server finishes a request even if the browser gives up.
    onward.on('error', () => res.destroy())
    onward.on('response', async (answer): Promise<void> => {
      if (path === '/auth/refresh' && method === 'POST') {
        const [, token] =
          /refresh_token(?:_\d+)?=([^;]+)/.exec(answer.headers['set-cookie']?.join() ?? '') ?? []
        refreshes.push({
          status: answer.statusCode ?? 0,
          generation: answer.statusCode === 200 ? generationOf(token) : undefined,
        })
      }
      if (trick === 'lose') return void req.socket.resetAndDestroy()
      if (typeof trick === 'number') await delay(trick)
      res.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
      let body = ''
      answer.on('data', (bytes) => {
        body += bytes
      })
      answer.on('end', () => answers.push({ method, url: target_, status: answer.statusCode ?? 0, body }))
      answer.pipe(res)
    })
  }
  const gate = createServer(listener)
  gate.on('connection', (socket: Socket) => {
    if (shut) return void socket.resetAndDestroy()
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  gate.listen(0, '127.0.0.1')
  await once(gate, 'listening')

  return {
    url: `http://localhost:${(gate.address() as AddressInfo).port}`,
    refreshes,
    answers,
    asked,
    count: (path) => counts.get(path) ?? 0,
    play: (path, trick, times = Number.POSITIVE_INFINITY) => tricks.push({ path, trick, left: times }),
    relent() {
      tricks = []
    },
    shut() {
      shut = true
      for (const socket of sockets) socket.resetAndDestroy()
    },
    open() {
      shut = false
    },
    close() {
      gate.close()
      gate.closeAllConnections()
    },
  }
}
