import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { generationOf } from '../../support/server.ts'

/** What the gate does with the next answers to a path, in the place of passing them on. */
export type Trick =
  /** The server has done it, and the connection is cut. */
  | 'lose'
  /** Nothing is passed on, and nothing answered. */
  | 'hang'
  /** The server has done it; the answer comes so many milliseconds later. */
  | number
  /** This answer, without the server. */
  | { status: number; type: string; body: string; headers?: Record<string, string> }

/** A way to the server over HTTP, that counts, holds back, loses and makes up answers. */
export interface Gate {
  url: string
  /** Status and generation of every refresh that has been answered. */
  refreshes: { status: number; generation: number | undefined }[]
  /** Every answer that has been passed on. */
  answers: { method: string; url: string; status: number; body: string }[]
  /** How many requests to a path have come. */
  count(path: string): number
  /** Plays a trick on the next so many requests to a path: all, where no number is given. */
  play(path: string, trick: Trick, times?: number): void
  /** Ends all tricks. */
  relent(): void
  /** Resets connections, and takes no more of them. */
  shut(): void
  open(): void
  close(): void
}

/** @param server where requests go, asked for at each request: the server may have to know the gate first */
export async function createGate(server: () => string): Promise<Gate> {
  const refreshes: Gate['refreshes'] = []
  const answers: Gate['answers'] = []
  const counts = new Map<string, number>()
  let tricks: { path: string; trick: Trick; left: number }[] = []
  const sockets = new Set<Socket>()
  let shut = false

  const listener = async (req: IncomingMessage, res: ServerResponse) => {
    const [path = ''] = req.url?.split('?') ?? []
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
    const { method = 'GET', url: target_ = '/' } = req
    const target = new URL(server())
    const onward = request({
      port: target.port,
      host: target.hostname,
      method,
      path: target_,
      headers: req.headers,
    })
    req.pipe(onward)
    // What the browser gives up, the server still does.
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
