import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe } from '@jest/globals'
import pg from 'pg'
import { freePort } from './free-port.ts'

// From Debian's packages postgresql and pgbouncer. Debian does not put PostgreSQL's programs into the PATH.
const versions = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql') : []
const folders = [
  ...versions.sort((a, b) => Number(b) - Number(a)).map((version) => `/usr/lib/postgresql/${version}/bin`),
  ...(process.env.PATH ?? '').split(':'),
  '/usr/sbin',
]
const find = (program: string) =>
  folders.map((folder) => join(folder, program)).find((path) => existsSync(path))
const missing = ['initdb', 'postgres', 'pg_basebackup', 'psql', 'pgbouncer', 'openssl'].filter(
  (name) => !find(name),
)

/** A suite that starts its own servers. If their programs are missing, it is skipped with a message. In CI it fails. */
export const describeOnOwnServers: (name: string, tests: () => void) => void =
  missing.length === 0
    ? describe
    : (name, tests) => {
        const message = `"${name}" needs ${missing.join(', ')}: apt-get install postgresql pgbouncer openssl`
        if (process.env.CI) throw new Error(message)
        process.stderr.write(`Left out: ${message}\n`)
        describe.skip(name, tests)
      }

// PostgreSQL and PgBouncer refuse to run as root.
const isRoot = process.getuid?.() === 0
const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
const owner = isRoot && missing.length === 0 ? { uid: id('-u'), gid: id('-g') } : undefined

const left = { children: [] as ChildProcess[], folders: [] as string[] }
process.once('exit', () => {
  for (const child of left.children) child.kill('SIGKILL')
  for (const folder of left.folders) rmSync(folder, { recursive: true, force: true })
})

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'own-postgres-'))
  if (owner) chownSync(folder, owner.uid, owner.gid)
  left.folders.push(folder)
  return folder
}

const run = (program: string, args: string[]) =>
  execFileSync(find(program) ?? program, args, { ...owner, cwd: tmpdir(), stdio: 'pipe' })

/** Starts a server program. It ends with the tests at the latest. */
function serve(program: string, args: string[]): ChildProcess {
  const child = spawn(find(program) ?? program, args, { ...owner, cwd: tmpdir(), stdio: 'ignore' })
  left.children.push(child)
  return child
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill(signal)
  await once(child, 'exit')
}

/** Runs statements in order, and returns the rows of the last one. */
export async function query(url: string, ...statements: string[]): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    let rows: Record<string, unknown>[] = []
    for (const statement of statements) ({ rows } = await client.query(statement))
    return rows
  } finally {
    await client.end()
  }
}

async function untilServing(url: string): Promise<void> {
  for (;;) {
    try {
      await query(url, 'SELECT 1')
      return
    } catch {
      await delay(50)
    }
  }
}

/** A PostgreSQL for one test: on a free port, in a temporary folder, without a password for postgres. */
export interface OwnPostgres {
  url: string
  /** Starts a standby that follows this server. */
  standby(): Promise<OwnPostgres>
  /** Promotes a standby to primary. */
  promote(): Promise<void>
  end(): Promise<void>
}

/** @param settings lines of postgresql.conf; @param files by name, written beside it */
export async function startPostgres(
  settings: string[] = [],
  files: Record<string, string> = {},
): Promise<OwnPostgres> {
  const folder = join(newFolder(), 'data')
  run('initdb', ['--no-sync', '--auth=trust', '--username=postgres', '--encoding=UTF8', '--pgdata', folder])
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(folder, name), text)
    chmodSync(join(folder, name), 0o600)
    if (owner) chownSync(join(folder, name), owner.uid, owner.gid)
  }
  appendFileSync(join(folder, 'postgresql.conf'), ['fsync = off', ...settings, ''].join('\n'))
  return open(folder)
}

async function open(folder: string): Promise<OwnPostgres> {
  const port = await freePort()
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const child = serve('postgres', ['-D', folder, '-p', `${port}`, '-h', '127.0.0.1', '-k', ''])
  await untilServing(url)
  return {
    url,
    async standby() {
      const copy = join(newFolder(), 'data')
      run('pg_basebackup', ['-d', url, '-D', copy, '-R', '--checkpoint=fast', '--no-sync'])
      return open(copy)
    },
    async promote() {
      await query(url, 'SELECT pg_promote()')
    },
    end: () => end(child, 'SIGINT'),
  }
}

/** Runs a file with psql, as superuser. */
export function runFile(url: string, file: string): void {
  run('psql', ['--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', `--file=${file}`, url])
}

/** A PgBouncer in front of a PostgreSQL that trusts `postgres`. */
export async function startPgBouncer(server: URL, mode: 'session' | 'transaction') {
  const port = await freePort()
  const folder = newFolder()
  const upstream = `host=${server.hostname} port=${server.port} user=postgres`
  writeFileSync(join(folder, 'users'), '"postgres" ""\n')
  writeFileSync(
    join(folder, 'pgbouncer.ini'),
    `[databases]\n* = ${upstream}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nunix_socket_dir =
auth_type = trust\nauth_file = ${join(folder, 'users')}\npool_mode = ${mode}\ndefault_pool_size = 40\n`,
  )
  const url = new URL(server)
  url.port = `${port}`
  const child = serve('pgbouncer', ['-q', join(folder, 'pgbouncer.ini')])
  await untilServing(url.href)
  return { url, end: () => end(child, 'SIGINT') }
}
