import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { is } from 'drizzle-orm'
import { PgTable } from 'drizzle-orm/pg-core'
import * as schemaOfServer from '../../../src/store/schema.ts'
import { createPostgresDatabase } from '../../support/database.ts'
import {
  describeOnOwnServers,
  type OwnPostgres,
  query,
  runFile,
  startPgBouncer,
  startPostgres,
} from '../../support/own-postgres.ts'
import { createProxy } from '../../support/proxy.ts'
import { describeOnPostgres, postgresServer } from '../../support/require-postgres.ts'
import { runServer, type ServerProcess, send, startServer } from '../../support/server.ts'

const password = 'my dog is called rex'
let users = 0
const newBody = () => ({ email: `user-${++users}@example.com`, password })
const post = (server: ServerProcess, path: string, options: Parameters<typeof send>[2] = {}) =>
  send('POST', `${server.url}${path}`, options)
const ready = (server: ServerProcess) => send('GET', `${server.url}/readyz`)

/** Asks until the server is ready: each question closes one connection that leads to where nothing can be written. */
async function untilReady(server: ServerProcess): Promise<void> {
  while ((await ready(server)).status !== 200) await delay(100)
}

/** Goes through what depends on how the database is set up: dates, races, limits, the audit. */
async function expectToServe(server: ServerProcess): Promise<void> {
  const body = newBody()
  const registered = await post(server, '/auth/register', { body })
  expect(registered.status).toBe(201)
  const { user } = registered.body as { user: { createdAt: string } }
  expect(Math.abs(Date.parse(user.createdAt) - Date.now())).toBeLessThan(60_000)

  const logins = await Promise.all(Array.from({ length: 8 }, () => post(server, '/auth/login', { body })))
  expect(logins.map(({ status }) => status)).toEqual(Array(8).fill(200))

  const wrong = { ...body, password: 'not my password at all' }
  const refused = await Promise.all(
    Array.from({ length: 8 }, () => post(server, '/auth/login', { body: wrong })),
  )
  expect(refused.map(({ status }) => status)).toEqual(Array(8).fill(401))

  let refreshToken = registered.refreshToken as string
  for (let round = 0; round < 5; round++) {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => post(server, '/auth/refresh', { refreshToken })),
    )
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200))
    expect(new Set(answers.map((answer) => answer.refreshToken)).size).toBe(1)
    refreshToken = answers[0]?.refreshToken as string
  }

  const { accessToken } = logins[0] as (typeof logins)[number]
  const listed = await send('GET', `${server.url}/auth/sessions`, { accessToken })
  const sessions = listed.body.sessions as { lastUsedAt: string; expiresAt: string }[]
  expect(sessions).toHaveLength(9)
  for (const { lastUsedAt, expiresAt } of sessions) {
    expect(Math.abs(Date.parse(lastUsedAt) - Date.now())).toBeLessThan(60_000)
    expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now() + 86_400_000)
  }
  expect((await post(server, '/auth/logout', { refreshToken })).status).toBe(204)
  expect((await ready(server)).status).toBe(200)
}

const limits = { LIMIT_LOGIN_ACCOUNT: '100/900', LIMIT_LOGIN_ADDRESS: '1000/900' }

// Each breaks something that is not set for each connection.
const hostileSettings = [
  `DateStyle = 'German, DMY'`,
  `IntervalStyle = 'iso_8601'`,
  `TimeZone = 'Asia/Kathmandu'`,
  `bytea_output = 'escape'`,
  `client_encoding = 'LATIN1'`,
  'standard_conforming_strings = off',
  `default_transaction_isolation = 'serializable'`,
  'default_transaction_deferrable = on',
]
const hostileTimeouts = [`statement_timeout = '1ms'`, `lock_timeout = '1ms'`]

describeOnPostgres('a PostgreSQL database that is set up in its own way', () => {
  let url: string
  let drop: () => Promise<void>
  let name: string
  const role = `app_${process.pid}`
  beforeAll(async () => {
    ;({ url, drop } = await createPostgresDatabase(postgresServer))
    name = new URL(url).pathname.slice(1)
    await query(url, `CREATE ROLE ${role} LOGIN`)
  })
  afterAll(async () => {
    await drop()
    await query(postgresServer, `DROP ROLE ${role}`)
  })
  const as = (user: string, options = '') => {
    const other = new URL(url)
    other.username = user
    if (options) other.searchParams.set('options', options)
    return other.href
  }

  test('serves with unusual settings of the database', async () => {
    const settings = [...hostileSettings, ...hostileTimeouts]
    for (const setting of settings) await query(postgresServer, `ALTER DATABASE ${name} SET ${setting}`)
    const server = await startServer({ DATABASE_URL: url, ...limits })

    await expectToServe(server)

    await server.end('SIGTERM')
    await query(postgresServer, `ALTER DATABASE ${name} RESET ALL`)
  })

  test.each([
    ['the search_path of its role', () => as(role)],
    ['the options of its URL', () => as(role, '-csearch_path=by_url')],
  ])('uses its own schema by %s, beside the tables of another application', async (how, urlOf) => {
    const schema = how.includes('URL') ? 'by_url' : 'by_role'
    await query(
      url,
      'CREATE TABLE IF NOT EXISTS public.users (name text)',
      'CREATE TABLE IF NOT EXISTS public.sessions (name text)',
      `CREATE SCHEMA ${schema} AUTHORIZATION ${role}`,
      `ALTER ROLE ${role} SET search_path = by_role`,
    )
    const before = await query(url, 'SELECT * FROM public.users')
    const server = await startServer({ DATABASE_URL: urlOf(), ...limits })

    await expectToServe(server)

    await server.end('SIGTERM')
    const tables = await query(url, `SELECT FROM pg_tables WHERE schemaname = '${schema}'`)
    // Those of the schema, and the journal of the migrations.
    expect(tables).toHaveLength(
      Object.values(schemaOfServer).filter((value) => is(value, PgTable)).length + 1,
    )
    expect(await query(url, 'SELECT * FROM public.users')).toEqual(before)
  })

  test('a schema with tables of another application: exits with 1 and one line that says what to do', async () => {
    await query(url, 'CREATE SCHEMA taken', 'CREATE TABLE taken.users (name text)')

    const exit = await runServer({ DATABASE_URL: as('postgres', '-csearch_path=taken') })

    expect(exit).toMatchObject({ code: 1, stdout: '' })
    expect(exit.stderr).toMatch(/^DATABASE_URL: the schema has tables of another application .*\.\n$/)
    expect(await query(url, `SELECT tablename FROM pg_tables WHERE schemaname = 'taken'`)).toEqual([
      { tablename: 'users' },
    ])
  })

  test.each([
    // This machine too, but not by a name that says so.
    ['0.0.0.0', 1],
    ['127.0.0.1', 0],
  ])('in production, an unencrypted connection to %s: %d warnings', async (host, warnings) => {
    const server = await startServer({
      NODE_ENV: 'production',
      PUBLIC_URL: 'http://localhost:3000',
      BCRYPT_COST: '10',
      LOG_LEVEL: 'warn',
      DATABASE_URL: as('postgres', '-csearch_path=by_url').replace('127.0.0.1', host),
    })
    await server.end('SIGTERM')

    const told = server.output.filter((line) => line.includes('without verified TLS'))
    expect(told.map((line) => JSON.parse(line).level)).toEqual(Array(warnings).fill(40))
  })

  test('a read-only database: 503 with Retry-After, keeps the cookie, /readyz says read_only, recovers by itself [G2]', async () => {
    const server = await startServer({ DATABASE_URL: as('postgres', '-csearch_path=by_url') })
    const { refreshToken = '' } = await post(server, '/auth/register', { body: newBody() })
    await query(
      postgresServer,
      `ALTER DATABASE ${name} SET default_transaction_read_only = on`,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
    )

    const refreshed = await post(server, '/auth/refresh', { refreshToken })
    const registered = await post(server, '/auth/register', { body: newBody() })
    const probe = await ready(server)
    await query(postgresServer, `ALTER DATABASE ${name} SET default_transaction_read_only = off`)

    for (const answer of [refreshed, registered]) {
      expect(answer).toMatchObject({ status: 503, code: 'unavailable', refreshToken: undefined })
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
    }
    expect(probe).toMatchObject({ status: 503, body: { checks: { database: 'read_only' } } })
    await untilReady(server)
    expect((await post(server, '/auth/refresh', { refreshToken })).status).toBe(200)
    await server.end('SIGTERM')
  })
})

describeOnOwnServers('PgBouncer', () => {
  let server: OwnPostgres
  beforeAll(async () => {
    server = await startPostgres(['max_connections = 200'])
  })
  afterAll(() => server.end())

  test.each(['session', 'transaction'] as const)(
    'in %s mode: servers that start together serve, and leave no lock',
    async (mode) => {
      await query(server.url, `CREATE DATABASE ${mode}`)
      for (const setting of hostileSettings) await query(server.url, `ALTER DATABASE ${mode} SET ${setting}`)
      const direct = new URL(server.url)
      direct.pathname = `/${mode}`
      const pooler = await startPgBouncer(direct, mode)
      const settings = { DATABASE_URL: pooler.url.href, PUBLIC_URL: 'http://localhost:3000', ...limits }

      const first = await Promise.all([startServer(settings), startServer(settings)])
      const locks = await query(direct.href, `SELECT FROM pg_locks WHERE locktype = 'advisory'`)
      const later = await startServer(settings)
      for (const each of [...first, later]) await expectToServe(each)
      await Promise.all([...first, later].map((each) => each.end('SIGTERM')))
      await pooler.end()

      expect(locks).toEqual([])
    },
  )
})

describeOnOwnServers('TLS to PostgreSQL', () => {
  const folder = mkdtempSync(join(tmpdir(), 'postgres-tls-'))
  const at = (file: string) => join(folder, file)
  let tls: OwnPostgres
  let plain: OwnPostgres
  beforeAll(async () => {
    const request = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=db
      -addext subjectAltName=DNS:localhost -keyout ${at('server.key')} -out ${at('server.crt')}`
    execFileSync('openssl', request.split(/\s+/), { stdio: 'pipe' })
    const files = Object.fromEntries(
      ['server.key', 'server.crt'].map((file) => [file, readFileSync(at(file), 'utf8')]),
    )
    ;[tls, plain] = await Promise.all([startPostgres(['ssl = on'], files), startPostgres()])
  })
  afterAll(async () => {
    await Promise.all([tls.end(), plain.end()])
    rmSync(folder, { recursive: true })
  })
  const url = (server: OwnPostgres, host: string, query: string) =>
    `${server.url.replace('127.0.0.1', host)}?${query}`

  test('verifies the certificate with the authority of sslrootcert', async () => {
    const DATABASE_URL = url(tls, 'localhost', `sslmode=verify-full&sslrootcert=${at('server.crt')}`)
    const server = await startServer({ DATABASE_URL })

    expect((await ready(server)).status).toBe(200)
    const [row] = await query(
      tls.url,
      'SELECT bool_and(ssl) AS ssl FROM pg_stat_ssl s JOIN pg_stat_activity USING (pid) WHERE application_name LIKE $$express%$$',
    )
    expect(row).toEqual({ ssl: true })
    expect(await server.end('SIGTERM')).toMatchObject({ code: 0, stderr: '' })
  })

  test.each([
    [
      'a self-signed certificate',
      'localhost',
      'sslmode=require',
      /authority that this machine does not trust.* sslrootcert=\//,
    ],
    ['the same, verified in full', 'localhost', 'sslmode=verify-full', /sslrootcert=\//],
    ['a certificate for another name', '127.0.0.1', 'sslmode=verify-full&sslrootcert=CA', /another name/],
  ])(
    'a server with %s: exits with 78 and one line that says what to do',
    async (_what, host, parameters, way) => {
      const DATABASE_URL = url(tls, host, parameters.replace('CA', at('server.crt')))

      const exit = await runServer({ DATABASE_URL })

      expect(exit).toMatchObject({ code: 78, stdout: '' })
      expect(exit.stderr).toMatch(/^DATABASE_URL: .*\.\n$/)
      expect(exit.stderr).toMatch(way)
    },
  )

  test('a server without TLS, and sslmode=require: exits with 78 and one line that says what to do', async () => {
    const exit = await runServer({ DATABASE_URL: url(plain, 'localhost', 'sslmode=require') })

    expect(exit).toMatchObject({
      code: 78,
      stderr: expect.stringMatching(/^DATABASE_URL: .*sslmode=disable.*\n$/),
    })
  })
})

describeOnOwnServers('a failover', () => {
  let primary: OwnPostgres
  let standby: OwnPostgres
  beforeAll(async () => {
    primary = await startPostgres()
    standby = await primary.standby()
  })
  afterAll(async () => {
    await standby.end()
    await primary.end()
  })

  test('to a standby: 503, keeps the cookie, /readyz says read_only, a start waits; serves after the promotion [G2]', async () => {
    const target = new URL(primary.url)
    const proxy = await createProxy(target)
    const server = await startServer({ DATABASE_URL: proxy.url.href, PUBLIC_URL: 'http://localhost:3000' })
    let { refreshToken = '' } = await post(server, '/auth/register', { body: newBody() })
    while ((await query(standby.url, 'SELECT FROM pg_class WHERE relname = $$sessions$$')).length === 0)
      await delay(50)

    target.port = new URL(standby.url).port
    proxy.cut()
    const refused = await post(server, '/auth/refresh', { refreshToken })
    const probe = await ready(server)
    expect(refused).toMatchObject({ status: 503, code: 'unavailable', refreshToken: undefined })
    expect(probe).toMatchObject({ status: 503, body: { checks: { database: 'read_only' } } })

    // The name of the database leads to the primary again, and nothing cuts the connections to the standby.
    target.port = new URL(primary.url).port
    await untilReady(server)
    const refreshed = await post(server, '/auth/refresh', { refreshToken })
    expect(refreshed.status).toBe(200)
    refreshToken = refreshed.refreshToken as string
    await server.end('SIGTERM')
    await proxy.close()

    let listening = false
    const starting = startServer({ DATABASE_URL: standby.url, PUBLIC_URL: 'http://localhost:3000' }).then(
      (started) => {
        listening = true
        return started
      },
    )
    await delay(3_000)
    expect(listening).toBe(false)
    await standby.promote()
    const started = await starting

    expect((await post(started, '/auth/refresh', { refreshToken })).status).toBe(200)
    await started.end('SIGTERM')
  })
})

describeOnOwnServers('two roles, as compose.yaml has them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'postgres-roles-'))
  let server: OwnPostgres
  const as = (role: string) => server.url.replace('postgres@', `${role}:canary@`).replace(/postgres$/, 'auth')
  const migrate = (url: string, ...args: string[]) =>
    spawnSync(process.execPath, ['dist/migrate.js', ...args], {
      env: { PATH: process.env.PATH ?? '', DATABASE_URL: url },
      encoding: 'utf8',
    })
  beforeAll(async () => {
    server = await startPostgres()
    chmodSync(folder, 0o755)
    for (const role of ['owner', 'auth']) writeFileSync(join(folder, `${role}_password`), 'canary')
    writeFileSync(
      join(folder, 'roles.sql'),
      readFileSync('docs/roles.sql', 'utf8').replaceAll('/run/secrets/', `${folder}/`),
    )
    runFile(server.url, join(folder, 'roles.sql'))
  })
  afterAll(async () => {
    await server.end()
    rmSync(folder, { recursive: true })
  })

  test.each([
    ['missing', () => {}],
    ['empty', (path: string) => writeFileSync(path, '')],
  ])('roles.sql stops if a password file is %s', (_what, arrange) => {
    const place = mkdtempSync(join(folder, 'bad-'))
    writeFileSync(join(place, 'owner_password'), 'canary')
    arrange(join(place, 'auth_password'))
    const text = readFileSync('docs/roles.sql', 'utf8').replaceAll('/run/secrets/', `${place}/`)
    const file = join(place, 'roles.sql')
    writeFileSync(file, text.replaceAll(/\bauth(_owner)?\b(?!_)/g, '$&_two'))

    const psql = spawnSync('psql', ['--no-psqlrc', `--file=${file}`, server.url], { encoding: 'utf8' })

    expect(psql.status).toBe(3)
    expect(psql.stderr).toMatch(/A password file is missing or empty\. Write both files/)
    expect(psql.stderr).not.toMatch(/already exists/)
  })

  test('the server reports what is missing until the owner has migrated', async () => {
    const exit = await runServer({ DATABASE_URL: as('auth') })

    expect(exit).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^DATABASE_URL: .*\n$/) })
    expect(exit.stderr).toMatch(/^DATABASE_URL: Migrate first: npm run migrate -- --grant ROLE/)
  })

  test('serves as a role that may only add to the audit, after the owner has migrated', async () => {
    expect(migrate(as('auth_owner'), '--grant', 'auth')).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^Applied \d+ migrations\.\nGranted auth the rights to serve\.\n$/),
      stderr: '',
    })
    expect(migrate(as('auth_owner'))).toMatchObject({
      status: 0,
      stdout: 'Nothing to migrate.\n',
      stderr: '',
    })
    const started = await startServer({ DATABASE_URL: as('auth'), ...limits })

    await expectToServe(started)
    const body = newBody()
    await query(
      as('auth_owner'),
      `INSERT INTO links (purpose, user_id, email, expires_at)
        SELECT 'undo', id, '${body.email}', now() + interval '1 hour' FROM users LIMIT 1`,
    )
    expect((await post(started, '/auth/register', { body })).status).toBe(409)

    await started.end('SIGTERM')
    const [role] = await query(
      server.url,
      `SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'auth'`,
    )
    expect(role).toEqual({ rolsuper: false, rolcreaterole: false, rolcreatedb: false })
    for (const refused of [
      'SELECT FROM audit_events',
      'DELETE FROM audit_events',
      'CREATE TABLE mine (a int)',
      'DROP TABLE users',
    ])
      await expect(query(as('auth'), refused)).rejects.toMatchObject({ code: '42501' })
  })

  test.each([
    ['no URL', () => '', [], 78, /^DATABASE_URL: is required/],
    [
      'a role that is not there',
      () => as('auth_owner'),
      ['--grant', 'nobody'],
      1,
      /^--grant: role "nobody" does not exist\. Create it as docs\/roles\.sql does\.$/m,
    ],
  ])('npm run migrate with %s: reports it', (_what, url, args, status, stderr) => {
    expect(migrate(url(), ...args)).toMatchObject({ status, stderr: expect.stringMatching(stderr) })
  })
})
