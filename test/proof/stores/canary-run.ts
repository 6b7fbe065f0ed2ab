import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll } from '@jest/globals'
import pg from 'pg'
import { createPostgresDatabase } from '../../support/database.ts'
import { routes } from '../../support/routes.ts'
import { serverEnvironment } from '../../support/server.ts'
import {
  type Canary,
  createCanary,
  descendants,
  endAll,
  filesIn,
  findCanary,
  type Hit,
  type Kind,
  launch,
  ofProcess,
  type Place,
  type Running,
  until,
} from './canary.ts'
import {
  environment,
  type Folder,
  makeFolder,
  type OpenedSource,
  type Settings,
  type Source,
} from './canary-sources.ts'

export const postgres = process.env.TEST_DATABASE_URL

export interface CanaryResult {
  /** By kind: how many places were searched, and how many bytes. */
  searched: Map<Kind, { places: number; bytes: number }>
  hits: Hit[]
  /** Every status that a request was answered with. */
  statuses: Set<number>
}

/** What the steps of a run share. */
interface Run {
  source: Source
  canary: Canary
  folder: Folder
  opened: OpenedSource
  database: { url: string; drop(): Promise<void> } | undefined
  /** The folder of the built server. */
  program: string
  env: Settings
  /** Everything that the server has left somewhere. */
  places: Place[]
  statuses: Set<number>
}

interface Server {
  running: Running
  url: string
  /** The origin of `/metrics` and `/keys`. */
  operator: string
  stopWatching(): void
}

interface Answer {
  refreshToken: string
  // biome-ignore lint/suspicious/noExplicitAny: any JSON that a route answers
  json: any
}

type Ask = (route: string, request?: { headers?: Settings; body?: string }) => Promise<Answer>

/**
 * Runs a server through everything that it can do and that can go wrong. Then searches every place where the server
 * leaves something for the server's secrets.
 */
export async function canaryRun(source: Source, program: string): Promise<CanaryResult> {
  const run = await prepare(source, program)
  const server = await startServer(run)
  const ask = asking(run, server)

  await Promise.all([exercise(ask), failToStart(run)])
  await runTool(run, 0, 'check')
  if (source.isLive) await changeSecrets(run, server, ask)
  if (run.opened.cutOff) await loseSecret(run, server, ask)
  await rotateByTool(run, server, ask)
  await Promise.all([runTool(run, 0, 'keys', '--url', server.operator), exercise(ask)])

  await crash(run, server)
  keepFiles(run)
  await keepDatabase(run)
  return search(run)
}

/** Puts marked secrets where they belong, and makes a database. */
async function prepare(source: Source, program: string): Promise<Run> {
  const canary = createCanary()
  const folder = makeFolder()
  const opened = await source.open(folder, canary)
  const database = postgres && source.onPostgres ? await createPostgresDatabase(postgres) : undefined
  if (database) undropped.add(database.drop)
  const env = serverEnvironment({
    ...baseSettings(folder),
    JWT_ALGORITHM: source.algorithm,
    ...opened.settings,
    ...(await opened.give(accessVariable(source), newAccessSecret(source, canary))),
    ...(await opened.give('JWT_REFRESH_SECRET', canary.secret())),
    ...(await opened.give('JWT_REFRESH_SECRET_PREVIOUS', canary.secret())),
    ...(database && (await opened.give('DATABASE_URL', withPassword(database.url, canary.secret())))),
  })
  return { source, canary, folder, opened, database, program, env, places: [], statuses: new Set() }
}

/** Starts the server, and watches the processes that it starts. */
async function startServer(run: Run): Promise<Server> {
  const running = launch([join(run.program, 'main.js')], { cwd: run.folder.work, env: run.env })
  const { url = '' } = await running.logged('listening')
  const operator = new URL((await running.logged('serving metrics')).url ?? '').origin
  const watching = setInterval(() => {
    for (const child of descendants(running.pid)) {
      keep(run, 'environments', `child ${child}`, ofProcess(child, 'environ'))
      keep(run, 'command lines', `child ${child}`, ofProcess(child, 'cmdline'))
    }
  }, 50)
  return { running, url, operator, stopWatching: () => clearInterval(watching) }
}

/** Returns a function that sends a request and keeps the answer. */
function asking(run: Run, { url, operator }: Server): Ask {
  return async (route, { headers = {}, body } = {}) => {
    const [method = '', path = ''] = route.split(' ')
    const isOperators = operatorPaths.includes(path)
    const response = await fetch(`${isOperators ? operator : url}${path}`, {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      body: body ?? null,
      redirect: 'manual', // The account page is at PUBLIC_URL, where no server listens here.
    })
    const bytes = Buffer.from(await response.arrayBuffer())
    const kind = isOperators ? 'metrics and /keys' : 'answers'
    keep(run, kind, `${route}: headers`, inspect(response.headers))
    keep(run, kind, `${route}: body`, bytes)
    run.statuses.add(response.status)
    const [, refreshToken = ''] = /^refresh_token=([^;]*)/.exec(response.headers.getSetCookie().join()) ?? []
    const isJson = /json/.test(response.headers.get('content-type') ?? '')
    return { refreshToken, json: isJson ? JSON.parse(bytes.toString()) : {} }
  }
}

/** Uses every route, with good requests, bad bodies and forged tokens. */
async function exercise(ask: Ask): Promise<void> {
  const email = `${randomUUID()}@example.com`
  const credentials = JSON.stringify({ email, password: 'my dog is called rex' })
  const wrong = JSON.stringify({ email, password: 'my cat is called tux' })
  const { refreshToken: first } = await ask('POST /auth/register', { body: credentials })
  await ask('POST /auth/login', { body: wrong })
  const { json, refreshToken: other } = await ask('POST /auth/login', { body: credentials })
  const { refreshToken: second } = await ask('POST /auth/refresh', cookie(first))
  await Promise.all([
    useAccessToken(ask, json.accessToken),
    sendBadTokens(ask, json.accessToken, second),
    ask('POST /auth/refresh', cookie(first)), // Reuse: ends the session.
    sendBadBodies(ask, credentials),
    ...publicPaths.map((path) => ask(`GET ${path}`)),
    ...operatorPaths.map((path) => ask(`GET ${path}`)),
  ])
  await ask('POST /auth/refresh', cookie(second))
  await ask('POST /auth/logout', cookie(other))
}

async function useAccessToken(ask: Ask, accessToken: string): Promise<void> {
  const { headers } = bearer(accessToken)
  const body = '{"currentPassword":"wrong","newPassword":"x"}'
  await Promise.all([
    ask('GET /users/me', { headers }),
    ask('GET /auth/sessions', { headers }),
    ask('DELETE /auth/sessions/none', { headers }),
    ask('POST /auth/password', { headers, body }),
  ])
}

async function sendBadTokens(ask: Ask, accessToken: string, refreshToken: string): Promise<void> {
  const [head, claims] = accessToken.split('.')
  const unknown = Buffer.from('{"alg":"HS256","typ":"at+jwt","kid":"unknown"}').toString('base64url')
  const accessTokens = ['', 'x', 'a.b.c', `${head}.${claims}.AAAA`, `${unknown}.${claims}.AAAA`]
  const refreshTokens = ['', 'x', `${refreshToken.slice(0, -4)}AAAA`, `${refreshToken}; refresh_token=y`]
  await Promise.all([
    ...accessTokens.map((token) => ask('GET /users/me', bearer(token))),
    ...refreshTokens.map((token) => ask('POST /auth/refresh', cookie(token))),
  ])
}

async function sendBadBodies(ask: Ask, credentials: string): Promise<void> {
  await Promise.all([
    ask('POST /auth/register', { body: '{"email":1}' }),
    ask('POST /auth/login', { body: '{' }),
    ask('POST /auth/login', { body: credentials, headers: { 'content-type': 'text/plain' } }),
    ask('POST /auth/login', { body: 'x'.repeat(10_000) }),
    ask('PUT /users/me'),
  ])
}

/** Starts other servers with settings that they refuse, or cannot work with. */
async function failToStart(run: Run): Promise<void> {
  await startWithWeakSecrets(run)
  if (run.source !== environment) return
  const { mark } = run.canary
  const references = {
    JWT_ACCESS_SECRET: `ref+${mark}`,
    JWT_ACCESS_SECRET_PREVIOUS: `ref+vault:${mark}`,
    JWT_REFRESH_SECRET: `ref+vault://${mark}`,
    JWT_REFRESH_SECRET_PREVIOUS: `ref+file://${mark}`,
    DATABASE_URL: `mysql://user:${mark}@localhost/auth`,
  }
  await start(run, 'bad references', references, 78)
  await start(run, 'no PostgreSQL', { DATABASE_URL: `postgres://user:${mark}@127.0.0.1:1/auth` }, 0)
  if (!run.database) return
  const absent = new URL(withPassword(run.database.url, mark))
  absent.pathname = '/absent'
  await start(run, 'another database', { DATABASE_URL: absent.href }, 1)
}

async function startWithWeakSecrets(run: Run): Promise<void> {
  const { source, canary } = run
  const weak = makeFolder()
  const { settings, give } = await source.open(weak, canary)
  const changes = {
    ...baseSettings(weak),
    ...settings,
    ...(await give(accessVariable(source), canary.mark)),
    ...(await give('JWT_REFRESH_SECRET', `-----BEGIN ${canary.mark}`)),
    DATABASE_URL: '',
    DATABASE_URL_FILE: '',
  }
  await start(run, 'weak secrets', changes, 78, weak)
}

/** Starts a server, keeps its output, and expects its exit code. One that waits for its database is ended. */
async function start(run: Run, what: string, changes: Settings, expected: number, folder = run.folder) {
  const args = [join(run.program, 'main.js')]
  const { child, ended, stdout, stderr } = launch(args, { cwd: folder.work, env: { ...run.env, ...changes } })
  child.stdout?.on('data', () => stdout().includes('database_trouble') && child.kill('SIGTERM'))
  const { code } = await ended
  keep(run, 'output of a failing start', what, Buffer.concat([stdout(), stderr()]))
  if (code !== expected) throw new Error(`${what}: ended with ${code}: ${stderr()}`)
}

/** Runs the command line tool, keeps its output, and expects its exit code. */
async function runTool(run: Run, expected: number, ...args: string[]): Promise<void> {
  const program = join(run.program, 'secrets/cli/cli.js')
  const { ended, stdout, stderr } = launch([program, ...args], { cwd: run.folder.work, env: run.env })
  const { code } = await ended
  keep(run, 'output of the command line tool', args.join(' '), Buffer.concat([stdout(), stderr()]))
  if (code !== expected) throw new Error(`${args.join(' ')}: ended with ${code}: ${stderr()}`)
}

/** Gives the running server good new secrets, and then one that it refuses. */
async function changeSecrets(run: Run, server: Server, ask: Ask): Promise<void> {
  const { source, canary, opened } = run
  const [before] = (await ask('GET /keys')).json.refresh
  await opened.give(accessVariable(source), newAccessSecret(source, canary))
  await opened.give('JWT_REFRESH_SECRET', canary.secret())
  server.running.child.kill('SIGHUP')
  await until(async () => {
    const [newest] = (await ask('GET /keys')).json.refresh
    return (newest.kid !== before.kid && newest.state === 'signing') || undefined
  })
  await exercise(ask)
  await opened.give('JWT_REFRESH_SECRET', canary.mark)
  await keysBecome('refused', server, ask)
  await lookAtTrouble(run, ask)
}

/** Takes a secret away from the running server. */
async function loseSecret(run: Run, server: Server, ask: Ask): Promise<void> {
  await run.opened.cutOff?.()
  await keysBecome('unreachable', server, ask)
  await lookAtTrouble(run, ask)
  await run.opened.give('JWT_REFRESH_SECRET', run.canary.secret())
}

/** Rotates by the command line tool. `--force`, because the secret before the last may still verify tokens. */
async function rotateByTool(run: Run, server: Server, ask: Ask): Promise<void> {
  const { source, canary, opened } = run
  await runTool(run, source === environment ? 78 : 0, 'rotate', 'JWT_REFRESH_SECRET', '--force')
  canary.watch(await opened.current('JWT_REFRESH_SECRET'))
  if (source.isLive) await keysBecome('ok', server, ask)
}

async function keysBecome(status: string, { running }: Server, ask: Ask): Promise<void> {
  await until(async () => {
    running.child.kill('SIGHUP')
    return (await ask('GET /keys')).json.status === status || undefined
  })
}

async function lookAtTrouble(run: Run, ask: Ask): Promise<void> {
  await Promise.all([ask('GET /readyz'), ask('GET /metrics'), runTool(run, 78, 'check')])
}

/** Lets the server write a diagnostic report, then crash. Keeps its output, and what the kernel shows of it. */
async function crash(run: Run, { running, stopWatching }: Server): Promise<void> {
  keep(run, 'command lines', 'the server', ofProcess(running.pid, 'cmdline'))
  // The kernel shows the environment that a process was started with, whatever the process does about it.
  if (run.source !== environment) keep(run, 'environments', 'the server', ofProcess(running.pid, 'environ'))
  running.child.kill('SIGUSR2')
  await until(() => filesIn(reportsOf(run.folder)).length > 0 || undefined)
  running.child.kill(crashes[run.source.crash])
  await running.ended
  stopWatching()
  keep(run, 'output', 'standard output', running.stdout())
  keep(run, 'output', 'standard error', running.stderr())
}

function keepFiles(run: Run): void {
  const { work } = run.folder
  const reports = reportsOf(run.folder)
  for (const file of filesIn(work).filter((path) => path !== join(work, '.env')))
    keep(run, file.startsWith(reports) ? 'diagnostic reports' : 'data folder', file, readFileSync(file))
}

/** Keeps all rows of all tables, and drops the database. */
async function keepDatabase(run: Run): Promise<void> {
  if (!run.database) return
  const { url, drop } = run.database
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows: tables } = await client.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
  for (const { tablename } of tables) {
    const { rows } = await client.query(`SELECT t::text FROM "${tablename}" t`)
    keep(run, 'database', tablename, JSON.stringify(rows))
  }
  await client.end()
  await drop()
  undropped.delete(drop)
}

function search({ places, canary, statuses }: Run): CanaryResult {
  const searched: CanaryResult['searched'] = new Map()
  for (const { kind, bytes } of places) {
    const sum = searched.get(kind) ?? { places: 0, bytes: 0 }
    searched.set(kind, { places: sum.places + 1, bytes: sum.bytes + bytes.length })
  }
  return { searched, hits: places.flatMap((place) => findCanary(canary, place, place.bytes)), statuses }
}

function keep({ places }: Run, kind: Kind, name: string, bytes: Buffer | string): void {
  places.push({ kind, name, bytes: Buffer.from(bytes) })
}

// Clean up what a failed run leaves behind.
const undropped = new Set<() => Promise<void>>()
afterAll(async () => {
  endAll()
  for (const drop of undropped) await drop()
})

// Each signal makes the server crash as a bug or a flood could at any time.
const crashes = { exception: 'SIGALRM', 'out of memory': 'SIGVTALRM' } as const
const crashable = `
  process.on('${crashes.exception}', () => setImmediate(() => { throw new Error('planted') }))
  process.on('${crashes['out of memory']}', () => { for (const all = []; ; ) all.push(new Array(1e6).fill(all.length)) })`

/** Returns the settings of a production server with all its logs, metrics and diagnostic reports. */
export function baseSettings(folder: Folder): Settings {
  const nodeOptions = [
    '--report-on-signal',
    '--report-on-fatalerror',
    '--report-uncaught-exception',
    `--report-directory=${reportsOf(folder)}`,
    '--max-old-space-size=200',
    `--import=data:text/javascript,${encodeURIComponent(crashable)}`,
  ]
  return {
    NODE_ENV: 'production',
    NODE_OPTIONS: nodeOptions.join(' '),
    NODE_EXTRA_CA_CERTS: process.env.TEST_AZURE_CA ?? '',
    METADATA_SERVER_DETECTION: 'none',
    TMPDIR: join(folder.work, 'tmp'),
    PUBLIC_URL: 'http://localhost',
    COOKIE_SECURE: 'false',
    BCRYPT_COST: '10',
    LOG_LEVEL: 'trace',
    METRICS_PORT: '0',
    DATA_DIR: '.data',
    JWT_ACCESS_SECRET: '',
    JWT_REFRESH_SECRET: '',
    SECRETS_REFRESH_SECONDS: '1',
    REFRESH_GRACE_SECONDS: '0',
  }
}

/** Puts a password into the URL of a database. */
export function withPassword(url: string, password: string): string {
  const changed = new URL(url)
  changed.password = password
  return changed.href
}

const operatorPaths = ['/metrics', '/keys', '/nothing']
// In production there is no demo, so its paths are answered with 404.
const publicPaths = routes
  .filter(({ method, checks }) => method === 'get' && !checks.some(({ credentials }) => credentials))
  .map(({ path }) => path.replace(':file', 'swagger-ui.css'))

const reportsOf = ({ work }: Folder) => join(work, 'reports')
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
const cookie = (token: string) => ({ headers: { cookie: `refresh_token=${token}` } })
const accessVariable = ({ algorithm }: Source) =>
  algorithm === 'HS256' ? 'JWT_ACCESS_SECRET' : 'JWT_ACCESS_PRIVATE_KEY'
const newAccessSecret = ({ algorithm }: Source, canary: Canary) =>
  algorithm === 'HS256' ? canary.secret() : canary.privateKey()
