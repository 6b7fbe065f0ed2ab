import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { testEnvironment } from './environment.ts'

const builtServer = 'dist/main.js'

/** A server process, built and started as in production, in its own empty working directory. */
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

// Otherwise the test runner would wait for the servers of a failed test.
const running = new Set<ChildProcess>()
const { afterAll } = globalThis as { afterAll?: (work: () => void) => void }
afterAll?.(() => {
  for (const child of running) child.kill('SIGKILL')
})

const folders: string[] = []
process.once('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** Creates a folder. It is deleted after the tests. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'auth-server-'))
  folders.push(folder)
  return folder
}

/** Returns the environment of a server process. Only the PATH comes from outside. */
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

/** Starts a server and waits until it listens. Throws its standard error if it ends instead. */
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

/** Starts a server that is expected to end by itself, and waits for its end. */
export function runServer(settings: Record<string, string>, cwd?: string, program?: string): Promise<Exit> {
  return launch(settings, cwd, program).exit
}

/** Starts a server and kills it after a time, whatever it is doing. */
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
      // In development the other lines are not JSON.
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

/** Returns the resident memory of a process in MB (10^6 bytes), from the kernel. */
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

/** Sends one request over the network, and returns what these suites check in the answer. */
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

/** Returns the generation in a refresh token. */
export const generationOf = (refreshToken: string | undefined): number => claimsOf(refreshToken).gen

/** Returns a `Cookie` header with a refresh token. The cookie's name contains the port of the issuer. */
export function refreshCookie(refreshToken: string): string {
  const { port } = new URL(claimsOf(refreshToken).iss)
  return `refresh_token${port && `_${port}`}=${refreshToken}`
}
