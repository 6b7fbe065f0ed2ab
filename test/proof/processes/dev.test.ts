import { spawn } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { afterEach, expect, test } from '@jest/globals'
import { serverEnvironment, startServer, temporaryFolder } from '../../support/server.ts'

const running = new Set<number>()
afterEach(() => {
  for (const pid of running) process.kill(pid, 'SIGKILL')
  running.clear()
})

/** Does what `npm run dev` does, in a terminal. */
async function startInTerminal() {
  const folder = temporaryFolder()
  copyFileSync('.env.example', join(folder, '.env.example'))
  const command = `'${resolve('node_modules/.bin/tsx')}' watch --clear-screen=false '${resolve('src/dev.ts')}'`
  const secrets = { JWT_ACCESS_SECRET: '', JWT_REFRESH_SECRET: '' }
  const settings = { ...secrets, NODE_ENV: '', BCRYPT_COST: '10', LOG_LEVEL: 'info', DATA_DIR: '.data' }
  const { pid } = spawn('script', ['-qfc', command, 'screen'], {
    cwd: folder,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: serverEnvironment(settings),
  })
  if (!pid) throw new Error('no terminal')
  running.add(pid)
  const file = join(folder, 'screen')
  const lines = () =>
    existsSync(file) ? stripVTControlCharacters(readFileSync(file, 'utf8')).split(/\r?\n/) : []
  const listening = () => lines().find((line) => line.includes('"msg":"listening"'))
  while (!listening()) await delay(50)
  return {
    folder,
    lines,
    url: JSON.parse(listening() ?? '').url as string,
    close() {
      running.delete(pid)
      process.kill(pid, 'SIGKILL')
    },
  }
}

/** Sends a part of a request, and closes the connection. */
async function abort(url: string): Promise<void> {
  const socket = connect(Number(new URL(url).port))
  const head =
    'POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n'
  await new Promise((resolve) => socket.write(head, resolve))
  await delay(500) // For the server to begin with it.
  socket.destroy()
}

test('in development, writes a readable log, names its addresses, and ends with its terminal', async () => {
  const terminal = await startInTerminal()
  const { url } = terminal
  await fetch(`${url}/users/me?token=secret`)
  await abort(url)
  await fetch(`${url}/%1b[31m`)
  for (const last of ['31m', '/auth/login'])
    while (!terminal.lines().some((line) => line.includes(last))) await delay(50)

  const screen = terminal.lines()
  terminal.close()

  expect(screen).toContainEqual(expect.stringContaining(`  ${url}/`))
  expect(screen).toContainEqual(expect.stringContaining(`  ${url}/docs`))
  expect(screen).toContainEqual(
    expect.stringMatching(/^\[[\d:]+\] INFO: GET \/users\/me 401 access_token_missing \d+ ms /),
  )
  expect(screen).toContainEqual(
    expect.stringMatching(/^\[[\d:]+\] INFO: POST \/auth\/login aborted by the client \d+ ms /),
  )
  expect(screen.filter((line) => line.startsWith('{'))).toHaveLength(1)
  // The data folder is in use until the server has ended.
  let next = await startServer({ DATA_DIR: join(terminal.folder, '.data') }).catch(() => undefined)
  while (!next) next = await startServer({ DATA_DIR: join(terminal.folder, '.data') }).catch(() => undefined)
  expect((await next.end('SIGTERM')).code).toBe(0)
})

test('in development without a terminal, reports on one JSON line that it listens', async () => {
  const server = await startServer({ NODE_ENV: 'development', BCRYPT_COST: '10' })

  const exit = await server.end('SIGTERM')

  expect(exit).toMatchObject({ code: 0, stderr: '' })
  expect(exit.stdout.split('\n').filter((line) => line.startsWith('{'))).toHaveLength(1)
})
