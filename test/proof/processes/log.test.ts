import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, test } from '@jest/globals'
import { send, serverEnvironment, startServer, temporaryFolder } from '../../support/server.ts'

const body = { email: 'ada@example.com', password: 'my dog is called rex' }
const note = (reason: string) =>
  `The log cannot be written (${reason}). The server continues and drops log lines.\n`
const unread = note('its reader stopped reading')

// Process groups and processes that may be left when a test fails.
const started: number[] = []
afterEach(() => {
  for (const pid of started.splice(0)) kill(pid)
})

function kill(pid: number) {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    expect(error).toMatchObject({ code: 'ESRCH' })
  }
}

async function until(condition: () => unknown): Promise<void> {
  while (!(await condition())) await delay(20)
}

async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return String(port)
}

/**
 * Runs a line of the shell, in which `sh server` is a server that logs every request. Its streams are those of the line.
 * @returns the server once it serves; `shell` is the process group of the line
 */
async function start(line: string, settings: Record<string, string> = {}) {
  const folder = temporaryFolder()
  const file = (name: string) => join(folder, name)
  const read = (name: string) => (existsSync(file(name)) ? readFileSync(file(name), 'utf8') : '')
  // The server is a child: its exit code is known even where its terminal is closed, and a signal ends the first wait.
  writeFileSync(
    file('server'),
    `trap : HUP; '${process.execPath}' '${resolve('dist/main.js')}' & echo $! >pid; while kill -0 $! 2>&-; do wait $!; code=$?; done; echo $code >code`,
  )
  const ports = { PORT: await freePort(), METRICS_PORT: await freePort() }
  const env = serverEnvironment({ ...ports, LOG_LEVEL: 'info', ...settings })
  const { pid: shell } = spawn('sh', ['-c', line], { cwd: folder, detached: true, stdio: 'ignore', env })
  if (!shell) throw new Error('no shell')
  started.push(-shell)
  const url = `http://localhost:${ports.PORT}`
  await until(() => fetch(`${url}/livez`).catch(() => false))
  const server = Number(read('pid'))
  started.push(server)
  return {
    shell,
    server,
    url,
    read,
    async droppedLines() {
      const text = await (await fetch(`http://localhost:${ports.METRICS_PORT}/metrics`)).text()
      return Number(/^log_lines_dropped_total (\d+)$/m.exec(text)?.[1])
    },
    /** Sends requests that log some MB, more than any buffer takes. */
    async logMuch() {
      const statuses = new Set<number>()
      for (let times = 0; times < 40; times++)
        for (const { status } of await Promise.all(
          Array.from({ length: 20 }, () => fetch(`${url}/${'a'.repeat(8000)}`)),
        ))
          statuses.add(status)
      return [...statuses]
    },
    async end(signal: NodeJS.Signals) {
      const sentAt = Date.now()
      process.kill(server, signal)
      await until(() => read('code'))
      return { code: Number(read('code')), milliseconds: Date.now() - sentAt }
    },
  }
}

type Server = Awaited<ReturnType<typeof start>>

/** The terminal that the line was run in, by `script`. */
const terminalOf = ({ shell }: Server) => shell
const stop = (server: Server) => process.kill(terminalOf(server), 'SIGSTOP')
const close = (server: Server) => process.kill(terminalOf(server), 'SIGKILL')

describe('a log that cannot be written', () => {
  test.each([
    { log: 'a full disk', line: 'sh server >/dev/full 2>stderr', said: note('ENOSPC') },
    { log: 'a file that may not grow', line: 'ulimit -S -f 2; sh server >log 2>stderr', said: note('EFBIG') },
    { log: 'a pipe whose reader has ended', line: 'sh server 2>stderr | true', said: note('EPIPE') },
    { log: 'a pipe whose reader does not read', line: 'sh server 2>stderr | sleep 600', said: unread },
    {
      log: 'a stopped terminal',
      line: "exec script -qc 'sh server 2>stderr' /dev/null",
      breaks: stop,
      said: unread,
    },
    {
      log: 'a closed terminal',
      line: "exec script -qc 'setsid -f sh server 2>stderr; sleep 600' /dev/null",
      breaks: close,
      said: note('EIO'),
    },
    { log: 'a full disk, as standard error', line: 'sh server >/dev/full 2>/dev/full', said: '' },
    { log: 'a pipe that nobody reads, as standard error', line: 'sh server 2>&1 | sleep 600', said: '' },
  ])('$log: serves, counts dropped lines, and ends at SIGTERM [G8]', async ({ line, breaks, said }) => {
    const server = await start(line)
    breaks?.(server)

    const statuses = await server.logMuch()
    const registered = await send('POST', `${server.url}/auth/register`, { body })
    const dropped = await server.droppedLines()
    const exit = await server.end('SIGTERM')

    expect(statuses).toEqual([404])
    expect(registered.status).toBe(201)
    expect(dropped).toBeGreaterThan(10)
    expect(exit.code).toBe(0)
    expect(exit.milliseconds).toBeLessThan(10_000)
    expect(server.read('stderr')).toBe(said)
  })

  test('writes whole lines again when the disk has room again [G8]', async () => {
    const server = await start('ulimit -S -f 2; sh server >log')
    await server.logMuch()

    execFileSync('prlimit', ['--pid', String(server.server), '--fsize=unlimited'])
    await send('GET', `${server.url}/readyz`)
    await server.end('SIGTERM')

    const lines = server.read('log').trimEnd().split('\n')
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ msg: 'stopped' })
    expect(lines.some((line) => line.includes('"path":"/readyz"'))).toBe(true)
  })

  test('an unexpected error ends the process, and goes to standard error instead [G7, G8]', async () => {
    const plant = `data:text/javascript,process.on('SIGUSR2', () => { throw new Error('planted') })`
    const server = await start('sh server >/dev/full 2>stderr', { NODE_OPTIONS: `--import="${plant}"` })

    const exit = await server.end('SIGUSR2')

    expect(exit.code).toBe(1)
    expect(server.read('stderr')).toMatch(/^The log cannot be written \(ENOSPC\)\..*\nError: planted\n/)
  })
})

describe('a terminal that is closed', () => {
  test('ends the server that was started in it, and frees the data folder', async () => {
    const folder = temporaryFolder()
    const server = await start("exec script -qc 'sh server >log' /dev/null", { DATA_DIR: folder })

    close(server)
    await until(() => server.read('code'))

    expect(server.read('code').trim()).toBe('0')
    expect(server.read('log')).toContain('"msg":"SIGHUP received"')
    const next = await startServer({ DATA_DIR: folder })
    expect((await next.end('SIGTERM')).code).toBe(0)
  })
})
