// A load generator in its own process. It takes one job at a time from its parent, and reports the result. It sends
// prepared requests over raw sockets, because a client library would take more CPU time than the server.
import { connect, type Socket } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'

export type Job = { port: number; seconds: number } & (
  | { kind: 'refresh'; perSecond: number; cookies: string[] }
  | { kind: 'flood'; perSecond: number; requests: string[] }
  | { kind: 'saturate'; connections: number; requests: string[] }
)

export interface Report {
  /** Milliseconds since a request was due, not since it was sent. So a late generator hides nothing. */
  latencies: number[]
  /** The delay of the generator's event loop: milliseconds at the 99th percentile. */
  loopDelay: number
  statuses: Record<number, number>
  /** The refresh token of each client. */
  cookies: string[]
}

class Connection {
  private received = ''
  private answered: ((answer: string) => void) | undefined
  private readonly socket: Socket

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.socket.setEncoding('latin1').on('data', (chunk: string) => {
      this.received += chunk
      const head = this.received.indexOf('\r\n\r\n')
      if (head < 0) return
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.received)?.[1] ?? 0)
      if (this.received.length < head + 4 + length) return
      const answer = this.received
      this.received = ''
      this.answered?.(answer)
    })
    this.socket.on('error', (error) => {
      throw error
    })
  }

  send(request: string): Promise<string> {
    return new Promise((resolve) => {
      this.answered = resolve
      this.socket.write(request)
    })
  }

  close() {
    this.socket.destroy()
  }
}

const refreshRequest = (cookie: string) =>
  `POST /auth/refresh HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nCookie: ${cookie}\r\n\r\n`

async function run(job: Job): Promise<Report> {
  const report: Report = { latencies: [], loopDelay: 0, statuses: {}, cookies: [] }
  const loop = monitorEventLoopDelay({ resolution: 1 })
  const connections: Connection[] = []
  const open = () => {
    const connection = new Connection(job.port)
    connections.push(connection)
    return connection
  }
  const count = (answer: string) => {
    const status = Number(answer.slice(9, 12))
    report.statuses[status] = (report.statuses[status] ?? 0) + 1
  }

  /** Starts `work` at a fixed rate, even if earlier work still runs. Waits for all of it at the end. */
  async function openLoop(perSecond: number, work: (index: number) => Promise<string>) {
    const begin = performance.now()
    const all: Promise<void>[] = []
    for (let index = 0; index < perSecond * job.seconds; index++) {
      const due = begin + (index * 1000) / perSecond
      const wait = due - performance.now()
      if (wait > 0) await delay(wait)
      all.push(
        work(index).then((answer) => {
          report.latencies.push(performance.now() - due)
          count(answer)
        }),
      )
    }
    await Promise.all(all)
  }

  const requestOf = (index: number) =>
    'requests' in job ? (job.requests[index % job.requests.length] as string) : ''

  loop.enable()
  if (job.kind === 'refresh') {
    // Each client has one connection, and refreshes with the token of its last refresh.
    const clients = job.cookies.map((cookie) => ({ cookie, connection: open(), last: Promise.resolve('') }))
    await openLoop(job.perSecond, (index) => {
      const client = clients[index % clients.length] as (typeof clients)[number]
      client.last = client.last.then(async () => {
        const answer = await client.connection.send(refreshRequest(client.cookie))
        client.cookie = /refresh_token_\d+=[^;]+/.exec(answer)?.[0] ?? client.cookie
        return answer
      })
      return client.last
    })
    report.cookies = clients.map(({ cookie }) => cookie)
  } else if (job.kind === 'flood') {
    const free: Connection[] = []
    await openLoop(job.perSecond, async (index) => {
      const connection = free.pop() ?? open()
      const answer = await connection.send(requestOf(index))
      free.push(connection)
      return answer
    })
  } else {
    const end = performance.now() + job.seconds * 1000
    const loadOne = async (connection: Connection, request: string) => {
      while (performance.now() < end) count(await connection.send(request))
    }
    await Promise.all(
      Array.from({ length: job.connections }, (_, index) => loadOne(open(), requestOf(index))),
    )
  }
  loop.disable()
  for (const connection of connections) connection.close()
  // The histogram includes its own resolution.
  report.loopDelay = Math.max(0, loop.percentile(99) / 1e6 - 1)
  return report
}

process.on('message', async (job: Job) => process.send?.(await run(job)))
process.on('disconnect', () => process.exit())
