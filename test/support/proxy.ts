import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** A way to a TCP server that tests can cut, freeze and close, as if the server were killed or stopped. */
export interface TcpProxy {
  url: URL
  /** Resets all connections; new ones are taken. */
  cut(): void
  /** Resets all connections and takes no new ones. */
  kill(): Promise<void>
  /** Takes connections and bytes, and passes nothing on. */
  freeze(): Promise<void>
  /** Ends what kill or freeze began. */
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
