import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { testEnvironment } from './environment.ts'

const builtServer = 'dist/main.js'

/** A server process, built and started as in production, in an empty working directory of its own. */
export interface ServerProcess {
  url: string
  process: ChildProcess
  /** Lines of standard output so far. */
  output: string[]
  /** Sends a signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<Exit>
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
  stderr: string
  stdout: string
}

// A test that fails before it ends its servers must not keep the test runner waiting for them.
const running = new Set<ChildProcess>()
const { afterAll } = globalThis as { afterAll?: (work: () => void) => void }
afterAll?.(() => {
  for (const child of running) child.kill('SIGKILL')
})

const folders: string[] = []
process.once('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** A folder that is gone when the tests are over. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'auth-server-'))
  folders.push(folder)
  return folder
}

/** The environment of a server process: of the outside it has the PATH only. */
export function serverEnvironment(settings: Record<string, string>): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '',
    ...testEnvironment,
    PUBLIC_URL: '',
    PORT: '0',
    LOG_LEVEL: 'error',
    ...settings,
  }
}

/** Starts a server and waits until it listens. Fails with its standard error where it ends instead. */
export async function startServer(
  settings: Record<string, string>,
  cwd?: string,
  program?: string,
): Promise<ServerProcess> {
  const { child, exit, lines, listening } = launch(settings, cwd, program)
  const ended = exit.then(({ code, stderr }) =>
    Promise.reject(new Error(`the server ended with ${code}: ${stderr}`)),
  )
  ended.catch(() => {})
  return {
    url: await Promise.race([listening, ended]),
    process: child,
    output: lines,
    end(signal) {
      child.kill(signal)
      return exit
    },
  }
}

/** Starts a server that is expected to end by itself, and waits for that. */
export function runServer(settings: Record<string, string>, cwd?: string, program?: string): Promise<Exit> {
  return launch(settings, cwd, program).exit
}

/** Starts a server and kills it after a while, wherever it stands then. */
export async function killServerAfter(milliseconds: number, settings: Record<string, string>): Promise<void> {
  const { child, exit } = launch(settings)
  await delay(milliseconds)
  child.kill('SIGKILL')
  await exit
}

function launch(settings: Record<string, string>, cwd = temporaryFolder(), program = builtServer) {
  const child = spawn(process.execPath, [resolve(program)], { cwd, env: serverEnvironment(settings) })
  running.add(child)
  child.once('exit', () => running.delete(child))
  const lines: string[] = []
  const output = createInterface({ input: child.stdout })
  const listening = new Promise<string>((resolve) => {
    output.on('line', (line) => {
      lines.push(line)
      // In development the other lines are for people.
      const { msg, url } = line.startsWith('{') ? JSON.parse(line) : {}
      if (msg === 'listening') resolve(url)
    })
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const exit = once(child, 'close').then(
    ([code, signal]): Exit => ({ code, signal, stderr, stdout: lines.join('\n') }),
  )
  return { child, exit, lines, listening }
}

/** Resident memory of a process in MB (10^6 bytes), by the kernel's account. */
export function residentMegabytes({ process: { pid } }: ServerProcess): number {
  const [, kibibytes] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return (Number(kibibytes) * 1024) / 1e6
}

export interface Answer {
  status: number
  code: string | undefined
  accessToken: string
  refreshToken: string | undefined
  body: Record<string, unknown>
  headers: Headers
}

/** One request over the network, with what these suites look at in its answer. */
export async function send(
  method: string,
  url: string,
  options: { body?: unknown; refreshToken?: string; accessToken?: string } = {},
): Promise<Answer> {
  const headers: Record<string, string> = {}
  if (options.refreshToken) headers.cookie = refreshCookie(options.refreshToken)
  if (options.accessToken) headers.authorization = `Bearer ${options.accessToken}`
  if (options.body) headers['content-type'] = 'application/json'
  const response = await fetch(url, {
    method,
    headers,
    body: options.body ? JSON.stringify(options.body) : null,
  })
  const text = await response.text()
  const body = text ? JSON.parse(text) : {}
  const [, refreshToken] =
    /^refresh_token(?:_\d+)?=([^;]*)/.exec(response.headers.getSetCookie().join()) ?? []
  return {
    status: response.status,
    code: body.code,
    accessToken: body.accessToken,
    refreshToken,
    body,
    headers: response.headers,
  }
}

const claimsOf = (refreshToken: string | undefined) =>
  JSON.parse(Buffer.from(refreshToken?.split('.')[1] ?? '', 'base64url').toString())

/** The generation a refresh token names. */
export const generationOf = (refreshToken: string | undefined): number => claimsOf(refreshToken).gen

/** A `Cookie` header with a refresh token. The cookie's name carries the port of the server's origin, the issuer. */
export function refreshCookie(refreshToken: string): string {
  const { port } = new URL(claimsOf(refreshToken).iss)
  return `refresh_token${port && `_${port}`}=${refreshToken}`
}
