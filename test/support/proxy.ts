import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** A proxy to a TCP server. Tests cut, freeze and close it, as if the server were killed or stopped. */
export interface TcpProxy {
  url: URL
  /** Resets all connections. Accepts new ones. */
  cut(): void
  /** Resets all connections. Accepts no new ones. */
  kill(): Promise<void>
  /** Accepts connections and bytes, and forwards nothing. */
  freeze(): Promise<void>
  /** Ends `kill` or `freeze`. */
  revive(): Promise<void>
  close(): Promise<void>
}

export async function createProxy(target: URL): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  let frozen = false
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      from.pipe(to)
      if (frozen) from.pause()
      from.on('error', () => to.destroy())
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
  })
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as { port: number }).port
  }
  const url = new URL(target)
  const port = await listen(0)
  url.port = String(port)
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy()
  }

  return {
    url,
    cut,
    async kill() {
      const closed = once(server, 'close')
      server.close()
      cut()
      await closed
    },
    async freeze() {
      frozen = true
      for (const socket of sockets) socket.pause()
    },
    async revive() {
      frozen = false
      for (const socket of sockets) socket.resume()
      if (!server.listening) await listen(port)
    },
    async close() {
      server.close()
      cut()
    },
  }
}
