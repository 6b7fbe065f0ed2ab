import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import PQueue from 'p-queue'
import { pino } from 'pino'
import { compose } from '../../../src/compose.ts'
import { loadConfig } from '../../../src/config/config.ts'
import { ConfigError } from '../../../src/config/config-error.ts'
import { features } from '../../../src/features.ts'
import { delay } from '../../../src/retry.ts'
import { createLiveKeys } from '../../../src/secrets/live-keys.ts'
import { createSources } from '../../../src/secrets/sources.ts'
import { openDatabase } from '../../../src/store/open-database.ts'
import { createPostgresDatabase } from '../../support/database.ts'
import { serverEnvironment, temporaryFolder } from '../../support/server.ts'
import { createCanary, findCanary, type Hit, type Kind, launch, visible } from './canary.ts'
import { baseSettings, type CanaryResult, canaryRun, postgres, withPassword } from './canary-run.ts'
import { environment, makeFolder, sources } from './canary-sources.ts'
import { sdkFolder } from './install-sdks.ts'

const server = resolve(sdkFolder, 'dist')

const kindsOf = (hits: Hit[]) => [...new Set(hits.map(({ kind }) => kind))].sort()

describe('a server leaves its secrets nowhere [E6]', () => {
  // A run mostly waits.
  const queue = new PQueue({ concurrency: 3 })
  const runs = new Map<string, Promise<CanaryResult>>()
  const total = { places: 0, bytes: 0, hits: 0 }
  beforeAll(() => {
    for (const source of sources) {
      const run = queue.add(() => canaryRun(source, server))
      run.catch(() => {}) // The run's own test reports the error.
      runs.set(source.name, run)
    }
  })
  afterAll(() => {
    queue.clear()
    process.stderr.write(
      `canary: ${total.places} places searched, ${total.bytes} bytes, ${total.hits} hits\n`,
    )
  })

  test.each(sources)('secrets from $name ($algorithm, ends by $crash)', async ({ name, onPostgres }) => {
    const { searched, hits, statuses } = (await runs.get(name)) as CanaryResult

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

describe('the search for secrets', () => {
  const leaky = resolve(sdkFolder, 'dist-leaking')
  afterAll(() => rmSync(leaky, { recursive: true, force: true }))

  // Together they leak into every kind of place, in many forms.
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
    [
      'secrets/cli/check.js',
      /function checkCommand\(args\) \{/,
      'console.log(process.env.JWT_ACCESS_SECRET)',
    ],
    ['secrets/key-events.js', /function reportState\(.*\{/, 'source += globalThis.leaked'],
  ]

  test('finds the secrets that a copy of the server leaks, in every kind of place [E6]', async () => {
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

describe('code in the process sees no secret [E6]', () => {
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
      return '' // A value with circular references has no JSON.
    }
  }
  const settings = {
    PUBLIC_URL: 'http://localhost',
    DATABASE_URL: `postgres://user:${canary.secret()}@127.0.0.1:1/auth`,
    JWT_ALGORITHM: 'ES256',
    JWT_ACCESS_PRIVATE_KEY: canary.privateKey(),
    JWT_REFRESH_SECRET: canary.secret(),
    SMTP_URL: `smtps://user:${canary.secret()}@127.0.0.1:1`,
    MAIL_FROM: 'auth@example.com',
    VAULT_TOKEN: canary.secret(),
  }

  test('in the settings', async () => {
    expect(shown('config', await loadConfig(settings, { features }))).toEqual([])
  })

  test('in the services, the keys and the log', async () => {
    const config = await loadConfig(settings, { features })
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

    await services.reloadKeys() // Also opens the connections to the SMTP server.
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

  test('in the source of a value or of a file', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'secret'), canary.secret())
    const openSource = createSources(settings)
    const opened = [openSource(canary.secret()), openSource(`ref+file://${join(folder, 'secret')}`)]
    for (const source of opened) await source.versions()

    expect(shown('sources', [openSource, opened])).toEqual([])
  })

  test('in the error about a bad secret', async () => {
    const wrong = {
      JWT_ACCESS_SECRET: `ref+vault:${canary.mark}`,
      JWT_REFRESH_SECRET: canary.mark,
      DATABASE_URL: `mysql://user:${canary.mark}@localhost/auth`,
      SMTP_URL: `smtps://user:${canary.mark}@`,
    }

    const error = await loadConfig({ ...settings, JWT_ALGORITHM: 'HS256', ...wrong }).catch(
      (thrown) => thrown,
    )

    expect(error).toBeInstanceOf(ConfigError)
    expect(shown('error', error)).toEqual([])
  })

  test('in a connection to PostgreSQL', async () => {
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
      'the value of a getter',
      (secret) => ({
        get text() {
          return secret
        },
      }),
    ],
    ['a member named by a symbol', (secret) => ({ [Symbol('s')]: new Map([[1, new Set([secret])]]) })],
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

test('SIGUSR1 opens no inspector in production [E6]', async () => {
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
