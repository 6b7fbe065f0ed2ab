import { randomUUID } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { parse } from 'dotenv'
import PQueue from 'p-queue'
import pg from 'pg'
import { pino } from 'pino'
import { compose } from '../../../src/compose.ts'
import { loadConfig } from '../../../src/config/config.ts'
import { ConfigError } from '../../../src/config/config-error.ts'
import { delay } from '../../../src/retry.ts'
import { createLiveKeys } from '../../../src/secrets/live-keys.ts'
import { createSources } from '../../../src/secrets/sources.ts'
import { openDatabase } from '../../../src/store/open-database.ts'
import { createPostgresDatabase } from '../../support/database.ts'
import { serverEnvironment, temporaryFolder } from '../../support/server.ts'
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
  until,
  visible,
} from './canary.ts'
import { sdkFolder } from './install-sdks.ts'
import { stores } from './stores.ts'
import { tokenWith, vault, vaultStore } from './vault.ts'

const postgres = process.env.TEST_DATABASE_URL
const server = resolve(sdkFolder, 'dist')

type Settings = Record<string, string>

/** A kind of place that secrets come from. */
interface Source {
  name: string
  /** Of access tokens. */
  algorithm: 'HS256' | 'ES256'
  /** Whether the server is on PostgreSQL, where there is one; else its data folder is searched. */
  onPostgres: boolean
  /** How the run ends. */
  crash: 'exception' | 'out of memory'
  /** Whether a running server notices new secrets. */
  isLive: boolean
  open(folder: Folder, canary: Canary): Promise<OpenedSource>
}

interface OpenedSource {
  /** What the server needs besides, such as an address and credentials. */
  settings?: Settings
  /** Puts a secret where it lives; gives the settings that lead there. */
  give(variable: string, value: string): Promise<Settings>
  /** What is there now. */
  current(variable: string): Promise<string>
  /** Puts it out of reach. */
  cutOff?(): Promise<void>
}

const environment: Source = {
  name: 'environment',
  algorithm: 'HS256',
  onPostgres: true,
  crash: 'out of memory',
  isLive: false,
  open: async (_folder, canary) => {
    const given: Settings = {}
    return {
      settings: { VAULT_TOKEN: canary.secret(), VAULT_SECRET_ID: canary.secret() },
      async give(variable, value) {
        given[variable] = value
        return { [variable]: value }
      },
      current: async (variable) => given[variable] ?? '',
    }
  },
}

const dotenv: Source = {
  name: '.env',
  algorithm: 'ES256',
  onPostgres: false,
  crash: 'exception',
  isLive: false,
  open: async ({ work }, canary) => {
    const file = join(work, '.env')
    writeFileSync(file, `# secrets\nVAULT_TOKEN=${canary.secret()}\nVAULT_SECRET_ID=${canary.secret()}\n`)
    return {
      async give(variable, value) {
        writeFileSync(file, `${variable}="${value.replaceAll('\n', '\\n')}"\n`, { flag: 'a' })
        return {}
      },
      current: async (variable) => parse(readFileSync(file))[variable] ?? '',
    }
  },
}

const files: Source = {
  name: 'files',
  algorithm: 'ES256',
  onPostgres: true,
  crash: 'out of memory',
  isLive: true,
  open: async ({ secrets }) => ({
    give: async (variable, value) => giveFile(secrets, variable, value),
    current: async (variable) => readFileSync(join(secrets, variable), 'utf8').trim(),
    cutOff: async () => rmSync(join(secrets, 'JWT_REFRESH_SECRET')),
  }),
}

function giveFile(folder: string, variable: string, value: string): Settings {
  const file = join(folder, variable)
  writeFileSync(`${file}.new`, value)
  renameSync(`${file}.new`, file)
  return { [`${variable}_FILE`]: file }
}

const policy = 'path "secret/*" { capabilities = ["create", "read", "update"] }'

/** Vault, whose own credentials are marked too. Those are in files: of the environment there is nothing to take back. */
const vaultBy = (
  name: string,
  logIn: (canary: Canary) => Promise<[Settings, variable: string, secret: string]>,
) =>
  fromStore({ ...vaultStore, name: `Vault by ${name}` }, async (folder, canary) => {
    const [settings, variable, secret] = await logIn(canary)
    return {
      VAULT_ADDR: vaultStore.environment.VAULT_ADDR ?? '',
      ...settings,
      ...giveFile(folder, variable, secret),
    }
  })

const vaultByToken = vaultBy('token', async (canary) => {
  const id = canary.secret()
  return [{}, 'VAULT_TOKEN', await tokenWith(policy, { id })]
})

const vaultByRole = vaultBy('AppRole', async (canary) => {
  const name = `canary-${randomUUID()}`
  await vault('POST', 'sys/auth/approle', { type: 'approle' }).catch(() => {}) // It may be there already.
  await vault('PUT', `sys/policies/acl/${name}`, { policy })
  await vault('POST', `auth/approle/role/${name}`, {
    token_policies: name,
    token_ttl: '5s',
    token_max_ttl: '15s',
  })
  const { data } = await vault('GET', `auth/approle/role/${name}/role-id`)
  const secret = canary.secret()
  await vault('POST', `auth/approle/role/${name}/custom-secret-id`, { secret_id: secret })
  return [{ VAULT_ROLE_ID: (data as { role_id: string }).role_id }, 'VAULT_SECRET_ID', secret]
})

function fromStore(
  store: (typeof stores)[number],
  credentials: (folder: string, canary: Canary) => Promise<Settings> = async () => store.environment,
): Source {
  return {
    name: store.name,
    algorithm: store.name === 'Vault by token' ? 'ES256' : 'HS256',
    onPostgres: /AppRole|Secrets Manager|Google/.test(store.name),
    crash: 'exception',
    isLive: true,
    async open({ secrets }, canary) {
      const settings = await credentials(secrets, canary)
      const prefix = `canary-${randomUUID()}-`
      const nameOf = (variable: string) => prefix + variable.toLowerCase().replaceAll('_', '-')
      return {
        settings,
        async give(variable, value) {
          await store.put(nameOf(variable), value)
          return { [variable]: store.reference(nameOf(variable)) }
        },
        async current(variable) {
          const source = createSources(store.environment)(store.reference(nameOf(variable)))
          const [newest] = await source.versions()
          return newest?.value ?? ''
        },
      }
    },
  }
}

const sources = [
  environment,
  dotenv,
  files,
  ...stores.flatMap((store) => (store === vaultStore ? [vaultByToken, vaultByRole] : fromStore(store))),
]

interface Folder {
  /** The working directory of the server, with its data, its temporary files and its reports in it. */
  work: string
  /** Outside of it: where secrets are in files. */
  secrets: string
}

function makeFolder(): Folder {
  const root = temporaryFolder()
  const folder = { work: join(root, 'work'), secrets: join(root, 'secrets') }
  for (const path of [folder.secrets, join(folder.work, 'tmp'), join(folder.work, 'reports')])
    mkdirSync(path, { recursive: true })
  return folder
}

// Makes a server fall over at a signal, as a bug or a flood would at any time.
const crashes = { exception: 'SIGALRM', 'out of memory': 'SIGVTALRM' } as const
const crashable = `
  process.on('${crashes.exception}', () => setImmediate(() => { throw new Error('planted') }))
  process.on('${crashes['out of memory']}', () => { for (const all = []; ; ) all.push(new Array(1e6).fill(all.length)) })`

function baseSettings({ work }: Folder): Settings {
  const nodeOptions = [
    '--report-on-signal',
    '--report-on-fatalerror',
    '--report-uncaught-exception',
    `--report-directory=${join(work, 'reports')}`,
    '--max-old-space-size=200',
    `--import=data:text/javascript,${encodeURIComponent(crashable)}`,
  ]
  return {
    NODE_ENV: 'production',
    NODE_OPTIONS: nodeOptions.join(' '),
    NODE_EXTRA_CA_CERTS: process.env.TEST_AZURE_CA ?? '',
    METADATA_SERVER_DETECTION: 'none',
    TMPDIR: join(work, 'tmp'),
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

interface Run {
  /** Of each kind: how many places were searched, and with how much in them. */
  searched: Map<Kind, { places: number; bytes: number }>
  hits: Hit[]
  /** What was answered to requests at all. */
  statuses: Set<number>
}

// What a failed run leaves behind.
const undropped = new Set<() => Promise<void>>()
afterAll(async () => {
  endAll()
  for (const drop of undropped) await drop()
})

/** Runs a server through all it can do and all that can go wrong, and looks for its secrets wherever it leaves something. */
async function canaryRun(source: Source, program: string): Promise<Run> {
  const canary = createCanary()
  const folder = makeFolder()
  const places: Place[] = []
  const keep = (kind: Kind, name: string, bytes: Buffer | string) =>
    void places.push({ kind, name, bytes: Buffer.from(bytes) })
  const accessVariable = source.algorithm === 'HS256' ? 'JWT_ACCESS_SECRET' : 'JWT_ACCESS_PRIVATE_KEY'
  const newAccess = () => (source.algorithm === 'HS256' ? canary.secret() : canary.privateKey())

  const opened = await source.open(folder, canary)
  const database = postgres && source.onPostgres ? await createPostgresDatabase(postgres) : undefined
  if (database) undropped.add(database.drop)
  const settings: Settings = {
    ...baseSettings(folder),
    JWT_ALGORITHM: source.algorithm,
    ...opened.settings,
    ...(await opened.give(accessVariable, newAccess())),
    ...(await opened.give('JWT_REFRESH_SECRET', canary.secret())),
    ...(await opened.give('JWT_REFRESH_SECRET_PREVIOUS', canary.secret())),
    ...(database && (await opened.give('DATABASE_URL', withPassword(database.url, canary.secret())))),
  }
  const env = serverEnvironment(settings)
  const { work: cwd } = folder

  const running = launch([join(program, 'main.js')], { cwd, env })
  const { url = '' } = await running.logged('listening')
  const operator = new URL((await running.logged('serving metrics')).url ?? '').origin
  const watching = setInterval(() => {
    for (const child of descendants(running.pid)) {
      keep('environments', `child ${child}`, ofProcess(child, 'environ'))
      keep('command lines', `child ${child}`, ofProcess(child, 'cmdline'))
    }
  }, 50)
  const statuses = new Set<number>()

  async function ask(route: string, { headers = {}, body }: { headers?: Settings; body?: string } = {}) {
    const [method = '', path = ''] = route.split(' ')
    const isOperators = ['/metrics', '/keys', '/nothing'].includes(path)
    const response = await fetch(`${isOperators ? operator : url}${path}`, {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      body: body ?? null,
    })
    const bytes = Buffer.from(await response.arrayBuffer())
    keep(isOperators ? 'metrics and /keys' : 'answers', `${route}: headers`, inspect(response.headers))
    keep(isOperators ? 'metrics and /keys' : 'answers', `${route}: body`, bytes)
    statuses.add(response.status)
    const [, refreshToken = ''] = /^refresh_token=([^;]*)/.exec(response.headers.getSetCookie().join()) ?? []
    const isJson = /json/.test(response.headers.get('content-type') ?? '')
    return { refreshToken, json: isJson ? JSON.parse(bytes.toString()) : {} }
  }

  async function exercise() {
    const email = `${randomUUID()}@example.com`
    const credentials = JSON.stringify({ email, password: 'my dog is called rex' })
    const wrong = JSON.stringify({ email, password: 'my cat is called tux' })
    const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
    const cookie = (token: string) => ({ cookie: `refresh_token=${token}` })
    const { refreshToken: first } = await ask('POST /auth/register', { body: credentials })
    await ask('POST /auth/login', { body: wrong })
    const { json, refreshToken: other } = await ask('POST /auth/login', { body: credentials })
    const { accessToken = '' } = json
    const { refreshToken: second } = await ask('POST /auth/refresh', { headers: cookie(first) })
    const [head, claims] = accessToken.split('.')
    const unknown = Buffer.from('{"alg":"HS256","typ":"at+jwt","kid":"unknown"}').toString('base64url')
    await Promise.all([
      ask('GET /users/me', { headers: bearer(accessToken) }),
      ask('GET /auth/sessions', { headers: bearer(accessToken) }),
      ask('DELETE /auth/sessions/none', { headers: bearer(accessToken) }),
      ask('POST /auth/password', {
        headers: bearer(accessToken),
        body: '{"currentPassword":"wrong","newPassword":"x"}',
      }),
      ...['', 'x', 'a.b.c', `${head}.${claims}.AAAA`, `${unknown}.${claims}.AAAA`].map((token) =>
        ask('GET /users/me', { headers: bearer(token) }),
      ),
      ...['', 'x', `${second.slice(0, -4)}AAAA`, `${second}; refresh_token=y`].map((token) =>
        ask('POST /auth/refresh', { headers: cookie(token) }),
      ),
      ask('POST /auth/refresh', { headers: cookie(first) }),
      ask('POST /auth/register', { body: '{"email":1}' }),
      ask('POST /auth/login', { body: '{' }),
      ask('POST /auth/login', { body: credentials, headers: { 'content-type': 'text/plain' } }),
      ask('POST /auth/login', { body: 'x'.repeat(10_000) }),
      ask('PUT /users/me'),
      ...[
        '/',
        '/livez',
        '/readyz',
        '/openapi.json',
        '/docs',
        '/docs/swagger-ui.css',
        '/.well-known/jwks.json',
      ].map((path) => ask(`GET ${path}`)),
      ...['/metrics', '/keys', '/nothing'].map((path) => ask(`GET ${path}`)),
    ])
    await ask('POST /auth/refresh', { headers: cookie(second) })
    await ask('POST /auth/logout', { headers: cookie(other) })
  }

  const keys = async () => (await ask('GET /keys')).json
  const becomes = (status: string) =>
    until(async () => {
      running.child.kill('SIGHUP')
      return (await keys()).status === status || undefined
    })

  async function rotate() {
    const [before] = (await keys()).refresh
    await opened.give(accessVariable, newAccess())
    await opened.give('JWT_REFRESH_SECRET', canary.secret())
    running.child.kill('SIGHUP')
    await until(async () => {
      const [newest] = (await keys()).refresh
      return (newest.kid !== before.kid && newest.state === 'signing') || undefined
    })
  }

  async function start(what: string, changes: Settings, expected: number | null, inFolder = folder) {
    const failing = launch([join(program, 'main.js')], {
      cwd: inFolder.work,
      env: { ...env, ...changes },
    })
    const late = setTimeout(() => failing.child.kill('SIGTERM'), expected === 0 ? 4_000 : 30_000)
    const { code } = await failing.ended
    clearTimeout(late)
    keep('output of a failing start', what, Buffer.concat([failing.stdout(), failing.stderr()]))
    if (code !== expected) throw new Error(`${what}: ended with ${code}: ${failing.stderr()}`)
  }

  async function startBadly() {
    const weak = makeFolder()
    const { settings: credentials, give } = await source.open(weak, canary)
    const changes = {
      ...baseSettings(weak),
      ...credentials,
      ...(await give(accessVariable, canary.mark)),
      ...(await give('JWT_REFRESH_SECRET', `-----BEGIN ${canary.mark}`)),
      DATABASE_URL: '',
      DATABASE_URL_FILE: '',
    }
    await start('weak secrets', changes, 78, weak)
    if (source !== environment) return
    const references = {
      JWT_ACCESS_SECRET: `ref+${canary.mark}`,
      JWT_ACCESS_SECRET_PREVIOUS: `ref+vault:${canary.mark}`,
      JWT_REFRESH_SECRET: `ref+vault://${canary.mark}`,
      JWT_REFRESH_SECRET_PREVIOUS: `ref+file://${canary.mark}`,
      DATABASE_URL: `mysql://user:${canary.mark}@localhost/auth`,
    }
    await start('bad references', references, 78)
    await start('no PostgreSQL', { DATABASE_URL: `postgres://user:${canary.mark}@127.0.0.1:1/auth` }, 0)
    if (!database) return
    const absent = new URL(withPassword(database.url, canary.mark))
    absent.pathname = '/absent'
    await start('another database', { DATABASE_URL: absent.href }, 1)
  }

  async function tool(expected: number, ...args: string[]) {
    const { ended, stdout, stderr } = launch([join(program, 'secrets/cli.js'), ...args], { cwd, env })
    const { code } = await ended
    keep('output of the command line tool', args.join(' '), Buffer.concat([stdout(), stderr()]))
    if (code !== expected) throw new Error(`${args.join(' ')}: ended with ${code}: ${stderr()}`)
  }

  await Promise.all([exercise(), startBadly()])
  await tool(0, 'check')
  if (source.isLive) {
    await rotate()
    await exercise()
    await opened.give('JWT_REFRESH_SECRET', canary.mark)
    await becomes('refused')
    await Promise.all([ask('GET /readyz'), ask('GET /metrics'), tool(78, 'check')])
  }
  await opened.cutOff?.()
  if (opened.cutOff) {
    await becomes('unreachable')
    await Promise.all([ask('GET /readyz'), ask('GET /metrics'), tool(78, 'check')])
    await opened.give('JWT_REFRESH_SECRET', canary.secret())
  }
  // The one before the last is still there, and may verify tokens.
  await tool(source === environment ? 78 : 0, 'rotate', 'JWT_REFRESH_SECRET', '--force')
  canary.watch(await opened.current('JWT_REFRESH_SECRET'))
  if (source.isLive) await becomes('ok')
  await Promise.all([tool(0, 'keys', '--url', operator), exercise()])

  keep('command lines', 'the server', ofProcess(running.pid, 'cmdline'))
  // What a process was started with, the kernel shows for as long as it runs, whatever the process does about it.
  if (source !== environment) keep('environments', 'the server', ofProcess(running.pid, 'environ'))
  running.child.kill('SIGUSR2')
  const reports = join(cwd, 'reports')
  await until(() => filesIn(reports).length > 0 || undefined)
  running.child.kill(crashes[source.crash])
  await running.ended
  clearInterval(watching)

  keep('output', 'standard output', running.stdout())
  keep('output', 'standard error', running.stderr())
  for (const file of filesIn(cwd).filter((path) => path !== join(cwd, '.env')))
    keep(file.startsWith(reports) ? 'diagnostic reports' : 'data folder', file, readFileSync(file))
  if (database) {
    for (const [table, rows] of await dump(database.url)) keep('database', table, rows)
    await database.drop()
    undropped.delete(database.drop)
  }
  const searched: Run['searched'] = new Map()
  for (const { kind, bytes } of places) {
    const sum = searched.get(kind) ?? { places: 0, bytes: 0 }
    searched.set(kind, { places: sum.places + 1, bytes: sum.bytes + bytes.length })
  }
  return { searched, hits: places.flatMap((place) => findCanary(canary, place, place.bytes)), statuses }
}

function withPassword(url: string, password: string): string {
  const changed = new URL(url)
  changed.password = password
  return changed.href
}

/** All rows of all tables of the server's. */
async function dump(url: string): Promise<[table: string, rows: string][]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows: tables } = await client.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
  const found: [string, string][] = []
  for (const { tablename } of tables) {
    const { rows } = await client.query(`SELECT t::text FROM "${tablename}" t`)
    found.push([tablename, JSON.stringify(rows)])
  }
  await client.end()
  return found
}

const kindsOf = (hits: Hit[]) => [...new Set(hits.map(({ kind }) => kind))].sort()

describe('E6 a canary run finds no secret', () => {
  // Much of a run is waiting.
  const queue = new PQueue({ concurrency: 3 })
  const runs = new Map<string, Promise<Run>>()
  const total = { places: 0, bytes: 0, hits: 0 }
  beforeAll(() => {
    for (const source of sources) {
      const run = queue.add(() => canaryRun(source, server))
      run.catch(() => {}) // Its test says so.
      runs.set(source.name, run)
    }
  })
  afterAll(() => {
    queue.clear()
    process.stderr.write(
      `canary: ${total.places} places searched, ${total.bytes} bytes, ${total.hits} hits\n`,
    )
  })

  test.each(sources)('from $name ($algorithm, ending by $crash)', async ({ name, onPostgres }) => {
    const { searched, hits, statuses } = (await runs.get(name)) as Run

    for (const { places, bytes } of searched.values()) {
      total.places += places
      total.bytes += bytes
    }
    total.hits += hits.length
    expect(hits).toEqual([])
    expect([...statuses]).toEqual(expect.arrayContaining([200, 201, 204, 400, 401, 404, 405, 413, 415]))
    const everywhere = kinds.filter(
      (kind) =>
        kind !== (postgres && onPostgres ? 'data folder' : 'database') &&
        !(kind === 'environments' && name === 'environment'),
    )
    expect([...searched.keys()]).toEqual(expect.arrayContaining(everywhere))
  })
})

const kinds: Kind[] = [
  'output',
  'output of a failing start',
  'output of the command line tool',
  'answers',
  'metrics and /keys',
  'database',
  'data folder',
  'diagnostic reports',
  'command lines',
  'environments',
]

describe('the search can find', () => {
  const leaky = resolve(sdkFolder, 'dist-leaking')
  afterAll(() => rmSync(leaky, { recursive: true, force: true }))

  // In each kind of place, and in many forms.
  const leaks: [file: string, before: RegExp, leak: string][] = [
    [
      'secrets/key.js',
      /export function toKey\(text, algorithm\) \{/,
      `if (!globalThis.leaked) {
        globalThis.leaked = text
        const { spawn } = process.getBuiltinModule('node:child_process')
        const { appendFileSync } = process.getBuiltinModule('node:fs')
        const { ServerResponse } = process.getBuiltinModule('node:http')
        const startChild = (args, env) => {
          const child = spawn('cat', ['-', ...args], { env, stdio: ['pipe', 'ignore', 'ignore'] })
          child.unref()
          child.stdin.unref()
        }
        console.log(JSON.stringify({ text: Buffer.from(text).toString('base64') }))
        appendFileSync('cache', Buffer.from(text).toString('hex'))
        startChild([], { KEY: JSON.stringify({ text }) })
        startChild([encodeURIComponent(text)], {})
        process.env.KEY = [...text].reverse().join('')
        const { writeHead } = ServerResponse.prototype
        ServerResponse.prototype.writeHead = function (...args) {
          this.setHeader('X-Debug', Buffer.from('x' + text).toString('base64url'))
          return writeHead.apply(this, args)
        }
      }`,
    ],
    ['secrets/policy.js', /export function secretProblem\(secret\) \{/, 'process.stderr.write(secret)'],
    ['secrets/cli.js', /async function check\(args\) \{/, 'console.log(process.env.JWT_ACCESS_SECRET)'],
    ['secrets/keys.js', /function tellOfKey\(.*\{/, 'source += globalThis.leaked'],
  ]

  test('E6 secrets that a copy of the server leaks, wherever it does', async () => {
    cpSync(server, leaky, { recursive: true })
    for (const [file, before, leak] of leaks) {
      const path = join(leaky, file)
      const text = readFileSync(path, 'utf8')
      expect(text).toMatch(before)
      writeFileSync(
        path,
        text.replace(before, (start) => `${start}\n${leak}\n`),
      )
    }

    const { hits, searched } = await canaryRun(environment, leaky)

    expect(kindsOf(hits)).toEqual([...searched.keys()].sort())
    expect(kindsOf(hits).length).toBeGreaterThan(8)
    const forms = hits.map(({ form }) => form)
    expect(forms).toEqual(expect.arrayContaining(['as it is', 'base64', 'hex', 'reversed']))
  })
})

describe('E6 what code in the process can look at', () => {
  const canary = createCanary()
  const shown = (name: string, value: unknown): Hit[] => {
    const views = {
      inspect: inspect(value, { depth: Infinity, showHidden: true, getters: true, maxStringLength: null }),
      JSON: json(value),
      members: visible(value),
    }
    return Object.entries(views).flatMap(([kind, bytes]) =>
      findCanary(canary, { kind, name }, Buffer.from(bytes)),
    )
  }
  const json = (value: unknown) => {
    try {
      return JSON.stringify(value) ?? ''
    } catch {
      return '' // Of what goes in circles there is no JSON.
    }
  }
  const settings = {
    PUBLIC_URL: 'http://localhost',
    DATABASE_URL: `postgres://user:${canary.secret()}@127.0.0.1:1/auth`,
    JWT_ALGORITHM: 'ES256',
    JWT_ACCESS_PRIVATE_KEY: canary.privateKey(),
    JWT_REFRESH_SECRET: canary.secret(),
    VAULT_TOKEN: canary.secret(),
  }

  test('the settings have no secret in them', async () => {
    expect(shown('config', await loadConfig(settings))).toEqual([])
  })

  test('the services and the keys have none', async () => {
    const config = await loadConfig(settings)
    const database = await openDatabase({ folder: 'memory://', onTrouble: () => {} })
    const lines: string[] = []
    const services = await compose(config, pino({ level: 'trace' }, { write: (line) => lines.push(line) }), {
      database,
    })
    const keys = await createLiveKeys({
      secrets: config.secrets,
      ...config.keys,
      accessTokenSeconds: 900,
      refreshTokenSeconds: 900,
      clock: Date.now,
      delay,
      onEvent: () => {},
      onWarning: () => {},
    })

    const hits = [
      shown('services', services),
      shown('app', services.app('http://localhost')),
      shown('keys', [
        keys,
        keys.report(),
        keys.publicKeys(),
        keys.access.signingKey(),
        keys.refresh.signingKey(),
      ]),
      shown('log', lines),
    ].flat()

    keys.close()
    await services.close()
    expect(lines.length).toBeGreaterThan(0)
    expect(hits).toEqual([])
  })

  test('a source has none, be it of a value or of a file', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'secret'), canary.secret())
    const openSource = createSources(settings)
    const opened = [openSource(canary.secret()), openSource(`ref+file://${join(folder, 'secret')}`)]
    for (const source of opened) await source.versions()

    expect(shown('sources', [openSource, opened])).toEqual([])
  })

  test('an error that is thrown for a bad secret has none', async () => {
    const wrong = {
      JWT_ACCESS_SECRET: `ref+vault:${canary.mark}`,
      JWT_REFRESH_SECRET: canary.mark,
      DATABASE_URL: `mysql://user:${canary.mark}@localhost/auth`,
    }

    const error = await loadConfig({ ...settings, JWT_ALGORITHM: 'HS256', ...wrong }).catch(
      (thrown) => thrown,
    )

    expect(error).toBeInstanceOf(ConfigError)
    expect(shown('error', error)).toEqual([])
  })

  test('a connection to PostgreSQL has none', async () => {
    if (!postgres) return
    const { url, drop } = await createPostgresDatabase(postgres)
    const database = await openDatabase({
      url: withPassword(url, canary.secret()),
      folder: '',
      onTrouble: () => {},
    })

    const text = inspect(database, { depth: Infinity })

    await database.close()
    await drop()
    expect(findCanary(canary, { kind: 'inspect', name: 'database' }, Buffer.from(text))).toEqual([])
  })

  test.each<[form: string, write: (secret: string) => unknown]>([
    ['a member', (secret) => ({ a: [{ b: secret }] })],
    ['bytes', (secret) => ({ bytes: Buffer.from(secret) })],
    ['a hidden member', (secret) => Object.defineProperty({}, 'hidden', { value: secret })],
    [
      'what a getter gives',
      (secret) => ({
        get text() {
          return secret
        },
      }),
    ],
    ['a member of a symbol', (secret) => ({ [Symbol('s')]: new Map([[1, new Set([secret])]]) })],
    ['the cause of an error', (secret) => new Error('failed', { cause: { secret } })],
    ['text in hex', (secret) => Buffer.from(`${secret}x`).toString('hex')],
    ['text in base64', (secret) => Buffer.from(`{"a":"${secret}"}`).toString('base64')],
    ['text in base64url', (secret) => Buffer.from(`x${secret}`).toString('base64url')],
    ['text in a URL', (secret) => encodeURIComponent(`/"${secret}" +`)],
    ['text in JSON', (secret) => JSON.stringify(JSON.stringify(`"${secret}"`))],
    ['text backwards', (secret) => [...secret].reverse().join('')],
    ['half of it', (secret) => secret.slice(0, secret.length / 2 + 8)],
  ])('the search finds a secret in %s', (_form, write) => {
    expect(shown('planted', write(canary.secret())).length).toBeGreaterThan(0)
  })
})

test('E6 SIGUSR1 opens no inspector in production', async () => {
  const canary = createCanary()
  const folder = makeFolder()
  const settings = {
    ...baseSettings(folder),
    NODE_OPTIONS: '--inspect-port=0',
    DATA_DIR: 'memory://',
    JWT_ACCESS_SECRET: canary.secret(),
    JWT_REFRESH_SECRET: canary.secret(),
  }
  const running = launch([join(server, 'main.js')], { cwd: folder.work, env: serverEnvironment(settings) })
  await running.logged('listening')

  running.child.kill('SIGUSR1')
  await new Promise((resolve) => setTimeout(resolve, 1_000))

  running.child.kill('SIGTERM')
  const { code } = await running.ended
  expect(running.stderr().toString()).toBe('')
  expect(code).toBe(0)
})
