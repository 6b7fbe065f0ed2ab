import { type ChildProcess, spawn } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** One way to write a part of a secret. */
interface Writing {
  form: string
  bytes: Buffer
}

/**
 * Creates secrets that contain the mark of a run, so that the search finds them anywhere. The mark has only letters and
 * digits, because escaping for a URL, JSON or a shell does not change those.
 */
export function createCanary() {
  const mark = lettersAndDigits(32)
  const writings: Writing[] = []
  const canary = {
    mark,
    writings,
    /** Returns a new secret that the policy accepts, with the mark in its middle. */
    secret: () => `${lettersAndDigits(17 + Math.floor(3 * Math.random()))}${mark}${lettersAndDigits(17)}`,
    /** Returns a new private key in PEM, and searches for its secret number too. */
    privateKey(): string {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
      canary.watch(pem)
      return pem
    },
    /** Searches for another secret or private key in PEM too. */
    watch(secret: string) {
      const bytes = secret.includes('-----BEGIN')
        ? Buffer.from(createPrivateKey(secret).export({ format: 'jwk' }).d ?? '', 'base64url')
        : Buffer.from(secret)
      writings.push(...pieces(bytes).flatMap(writingsOf))
    },
  }
  canary.watch(mark)
  return canary
}

export type Canary = ReturnType<typeof createCanary>

const lettersAndDigits = (length: number) =>
  randomBytes(4 * length)
    .toString('base64')
    .replace(/[^A-Za-z0-9]/g, '')
    .slice(0, length)

// A secret that is cut off or broken into lines still contains one of these pieces.
const pieces = (secret: Buffer) =>
  Array.from({ length: Math.min(4, Math.floor(secret.length / 16)) }, (_, index) =>
    secret.subarray(16 * index, 16 * index + 16),
  )

function writingsOf(piece: Buffer): Writing[] {
  const hex = piece.toString('hex')
  const written: [form: string, bytes: Buffer | string][] = [
    ['as it is', piece],
    ['reversed', Buffer.from(piece).reverse()],
    ['UTF-16', Buffer.from(piece.toString('latin1'), 'utf16le')],
    ['hex', hex],
    ['hex', hex.toUpperCase()],
  ]
  // In base64 the text depends on the position in a group of three bytes.
  for (const before of [0, 1, 2])
    for (const form of ['base64', 'base64url'] as const) {
      const text = Buffer.concat([Buffer.alloc(before), piece]).toString(form)
      const whole = Math.floor(((before + piece.length) * 8) / 6)
      written.push([form, text.slice(Math.ceil((before * 8) / 6), whole)])
    }
  const unique = new Map(
    written.toReversed().map(([form, bytes]) => [Buffer.from(bytes).toString('latin1'), form]),
  )
  return [...unique].map(([bytes, form]) => ({ form, bytes: Buffer.from(bytes, 'latin1') }))
}

/** Where secrets must not appear. Every run searches every kind. */
export type Kind =
  | 'output'
  | 'output of a failing start'
  | 'output of the command line tool'
  | 'answers'
  | 'metrics and /keys'
  | 'database'
  | 'data folder'
  | 'diagnostic reports'
  | 'command lines'
  | 'environments'

export interface Place {
  kind: Kind
  /** Names the place, to find the leak. */
  name: string
  bytes: Buffer
}

export interface Hit {
  kind: string
  name: string
  form: string
  around: string
}

/** Searches one place for the secrets of a canary in every form. */
export function findCanary(
  { writings }: Pick<Canary, 'writings'>,
  { kind, name }: { kind: string; name: string },
  bytes: Buffer,
): Hit[] {
  return writings.flatMap((writing) => {
    const at = bytes.indexOf(writing.bytes)
    if (at === -1) return []
    const around = bytes.subarray(Math.max(0, at - 60), at + writing.bytes.length + 20).toString('latin1')
    return [{ kind, name, form: writing.form, around }]
  })
}

/** A process whose whole output is kept. */
export interface Running {
  child: ChildProcess
  pid: number
  stdout(): Buffer
  stderr(): Buffer
  /** Waits for a log line with this message. */
  logged(message: string): Promise<Record<string, string>>
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

const launched = new Set<ChildProcess>()

/** Ends the processes that a failed run left behind. */
export function endAll(): void {
  for (const child of launched) child.kill('SIGKILL')
}

export function launch(args: string[], options: { cwd: string; env: Record<string, string> }): Running {
  const child = spawn(process.execPath, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  launched.add(child)
  const chunks: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] }
  child.stdout.on('data', (chunk) => chunks.stdout.push(chunk))
  child.stderr.on('data', (chunk) => chunks.stderr.push(chunk))
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }))
  let over = false
  ended.then(() => {
    over = true
    launched.delete(child)
  })
  const stdout = () => Buffer.concat(chunks.stdout)
  const stderr = () => Buffer.concat(chunks.stderr)

  function find(message: string): Record<string, string> | undefined {
    const line = stdout()
      .toString()
      .split('\n')
      .find((text) => text.includes(`"msg":"${message}"`))
    return line && JSON.parse(line)
  }

  return {
    child,
    pid: child.pid as number,
    stdout,
    stderr,
    ended,
    async logged(message) {
      const found = await until(() => (over ? null : find(message)))
      if (!found) throw new Error(`the server ended: ${stderr()}`)
      return found
    },
  }
}

/** Asks until the answer is not undefined. */
export async function until<T>(ask: () => T | undefined | Promise<T | undefined>, seconds = 120): Promise<T> {
  const deadline = performance.now() + seconds * 1000
  for (;;) {
    const answer = await ask()
    if (answer !== undefined) return answer
    if (performance.now() > deadline) throw new Error(`not within ${seconds} s: ${ask}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Returns every file below a folder. Does not follow links. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}

/** Returns what the kernel shows of a process; nothing if it has ended. */
export function ofProcess(pid: number, what: 'environ' | 'cmdline'): Buffer {
  return readKernel(`/proc/${pid}/${what}`)
}

/** Returns the children of a process, and their children. */
export function descendants(pid: number): number[] {
  let threads: string[] = []
  try {
    threads = readdirSync(`/proc/${pid}/task`)
  } catch {}
  const children = threads.flatMap((thread) =>
    readKernel(`/proc/${pid}/task/${thread}/children`).toString().split(' ').filter(Boolean).map(Number),
  )
  return children.flatMap((child) => [child, ...descendants(child)])
}

function readKernel(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch {
    return Buffer.alloc(0)
  }
}

/** Returns everything that code can see of a value: all members, also hidden ones, and the values of getters. */
export function visible(value: unknown): Buffer {
  const found: Buffer[] = []
  const parts = new Set([value])
  // The loop also visits members that it adds.
  for (const part of parts) {
    if (typeof part === 'string') found.push(Buffer.from(`${part}\n`))
    if ((typeof part !== 'object' && typeof part !== 'function') || part === null) continue
    if (ArrayBuffer.isView(part)) found.push(Buffer.from(part.buffer, part.byteOffset, part.byteLength))
    if (part instanceof Map || part instanceof Set) for (const entry of part) parts.add(entry)
    for (let owner = part; owner; owner = Object.getPrototypeOf(owner))
      for (const name of Reflect.ownKeys(owner)) {
        parts.add(typeof name === 'symbol' ? name.description : name)
        try {
          parts.add(Reflect.get(owner, name, part))
        } catch {}
      }
  }
  return Buffer.concat(found)
}
