import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { killServerAfter, runServer, send, startServer, temporaryFolder } from '../../support/server.ts'

const body = { email: 'ada@example.com', password: 'my dog is called rex' }

describe('start', () => {
  test('bad settings: exits with 78, one line per problem, no value of a secret, does not listen [E1]', async () => {
    const exit = await runServer({
      NODE_ENV: 'production',
      PORT: '99999',
      BCRYPT_COST: '',
      JWT_ACCESS_SECRET: 'canary-canary-canary-canary-canary-canary',
      JWT_REFRESH_SECRET: '',
    })

    expect(exit.code).toBe(78)
    expect(exit.stdout).toBe('')
    const names = exit.stderr
      .trimEnd()
      .split('\n')
      .map((line) => line.split(':')[0])
    expect(names).toEqual(['PORT', 'PUBLIC_URL', 'JWT_REFRESH_SECRET', 'JWT_ACCESS_SECRET'])
    expect(exit.stderr).not.toContain('canary')
  })

  test.each([
    ['production without a database', { DATA_DIR: '' }, /^DATABASE_URL: is required in production\. /],
    [
      'no verification of certificates',
      { NODE_TLS_REJECT_UNAUTHORIZED: '0' },
      /^NODE_TLS_REJECT_UNAUTHORIZED: /,
    ],
    [
      'an http origin',
      { CORS_ORIGINS: 'http://app.example.com' },
      /^CORS_ORIGINS: must be https in production/,
    ],
    [
      'sslrootcert=system',
      { DATABASE_URL: 'postgres://db/auth?sslrootcert=system' },
      /^DATABASE_URL: .*sslrootcert=\//,
    ],
    [
      'a missing certificate file',
      { DATABASE_URL: 'postgres://db/auth?sslmode=verify-full&sslrootcert=/nowhere.pem' },
      /^DATABASE_URL: .*sslrootcert= .*ENOENT/,
    ],
    [
      'an SMTP_URL that is no URL',
      { SMTP_URL: 'smtp.example.com', MAIL_FROM: 'auth@example.com' },
      /^SMTP_URL: must be a URL, smtps:\/\/user:password@host:465, or /,
    ],
    [
      'an SMTP_URL without TLS',
      { SMTP_URL: 'smtp://smtp.example.com?ignoreTLS=true', MAIL_FROM: 'auth@example.com' },
      /^SMTP_URL: must end after the port\. Remove the path, the query and the fragment\. TLS cannot be switched off/,
    ],
    [
      'a MAIL_FROM that is no address',
      { SMTP_URL: 'smtps://smtp.example.com', MAIL_FROM: 'auth@' },
      /^MAIL_FROM: must be one e-mail address in ASCII/,
    ],
    [
      'an SMTP_URL without MAIL_FROM',
      { SMTP_URL: 'smtps://smtp.example.com' },
      /^MAIL_FROM: is required with SMTP_URL\. Set it to /,
    ],
    [
      'an ACCOUNT_URL of a foreign origin',
      { ACCOUNT_URL: 'https://evil.example/account' },
      /^ACCOUNT_URL: must be a page of PUBLIC_URL or of one of CORS_ORIGINS\. Change it, or add /,
    ],
    [
      'REGISTRATION=verified without mail',
      { REGISTRATION: 'verified' },
      /^REGISTRATION: must not be verified without mail\. Set SMTP_URL, or set REGISTRATION to /,
    ],
  ])('%s: exits with 78 and one line that says what to do [E1]', async (_what, settings, line) => {
    const exit = await runServer({
      NODE_ENV: 'production',
      PUBLIC_URL: 'http://localhost:3000',
      BCRYPT_COST: '10',
      ...settings,
    })

    expect(exit).toMatchObject({ code: 78, stdout: '', stderr: expect.stringMatching(line) })
    expect(exit.stderr.trimEnd().split('\n')).toHaveLength(1)
  })

  test('a port in use: exits with 1 and one line that says what to do', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }

    const exit = await runServer({ PORT: String(port) })
    other.close()

    expect(exit.code).toBe(1)
    expect(exit.stderr).toBe(`Port ${port} is taken. Stop the process that listens on it, or change PORT.\n`)
  })

  test('a data folder in use: exits with 1 and one line that says what to do; the first server continues', async () => {
    const folder = temporaryFolder()
    const first = await startServer({ DATA_DIR: folder })

    const exit = await runServer({ DATA_DIR: folder })

    expect(exit.code).toBe(1)
    expect(exit.stderr).toMatch(/^Another process uses DATA_DIR .*\. Stop .*\n$/)
    expect((await send('GET', `${first.url}/readyz`)).status).toBe(200)
    await first.end('SIGTERM')
  })

  test('an unavailable database: retries for 30 s, then exits with 1 and one line that says what to do', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as { port: number }
    const startedAt = Date.now()

    const [refused, unanswered] = await Promise.all([
      runServer({ LOG_LEVEL: 'warn', DATABASE_URL: 'postgres://postgres@127.0.0.1:9/auth' }),
      runServer({ LOG_LEVEL: 'warn', DATABASE_URL: `postgres://postgres@127.0.0.1:${port}/auth` }),
    ])
    silent.close()

    const message = /^DATABASE_URL: PostgreSQL was unavailable \(.*\) for 30 s\. Start it, or .*\n$/
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(message) })
    expect(unanswered).toMatchObject({ code: 1, stderr: expect.stringMatching(message) })
    expect(Date.now() - startedAt).toBeGreaterThan(29_000)
    for (const { stdout } of [refused, unanswered]) {
      const reports = stdout.match(/waiting for PostgreSQL/g) ?? []
      expect(reports.length).toBeGreaterThanOrEqual(2)
      expect(reports.length).toBeLessThanOrEqual(4)
    }
  })

  test.each(['/dev/null/auth', ...(existsSync('/proc') ? ['/proc/auth', '/proc/auth/data'] : [])])(
    'the data folder %s, which cannot be created: exits with 1 and one line that says what to do',
    async (folder) => {
      const exit = await runServer({ DATA_DIR: folder })

      expect(exit.code).toBe(1)
      expect(exit.stderr).toMatch(/^Cannot use DATA_DIR \S+ \(\w+\)\. .*\n$/)
      expect(exit.stderr).toContain(`DATA_DIR ${folder} `)
    },
  )

  test('an address of another machine: exits with 1 and one line that says what to do', async () => {
    const exit = await runServer({ HOST: '192.0.2.1', PORT: '3901' })

    expect(exit.code).toBe(1)
    expect(exit.stderr).toBe('Cannot listen on 192.0.2.1:3901 (EADDRNOTAVAIL). Change HOST or PORT.\n')
  })

  test('the next start repeats a first start that was killed at any moment', async () => {
    const folder = temporaryFolder()
    for (const milliseconds of [700, 1000, 1300, 1600, 2000])
      await killServerAfter(milliseconds, { DATA_DIR: folder })

    const server = await startServer({ DATA_DIR: folder })

    expect((await send('GET', `${server.url}/readyz`)).status).toBe(200)
    await server.end('SIGTERM')
  })

  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s: exits with 0, and the next start finds the data [G1]',
    async (signal) => {
      const folder = temporaryFolder()
      const first = await startServer({ DATA_DIR: folder })
      await send('POST', `${first.url}/auth/register`, { body })

      const exit = await first.end(signal)

      expect(exit).toMatchObject({ code: 0, stderr: '' })
      const second = await startServer({ DATA_DIR: folder })
      expect((await send('POST', `${second.url}/auth/login`, { body })).status).toBe(200)
      await second.end(signal)
    },
  )

  test.each(['silent', 'fatal', 'info'])(
    'writes to standard output that it listens, at LOG_LEVEL=%s',
    async (level) => {
      const server = await startServer({ LOG_LEVEL: level })

      const line = JSON.parse(server.output.at(-1) ?? '')
      const answer = await send('GET', `${line.url}/livez`)
      await server.end('SIGTERM')

      expect(line).toMatchObject({
        msg: 'listening',
        url: expect.stringMatching(/^http:\/\/localhost:\d+$/),
        origin: line.url,
        version: JSON.parse(readFileSync('package.json', 'utf8')).version,
        database: 'embedded',
        algorithm: 'HS256',
      })
      expect(answer.status).toBe(200)
    },
  )

  test('reads .env of the working directory; the environment overrides it', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, '.env'), 'ACCESS_TOKEN_SECONDS=77\nPASSWORD_MIN_LENGTH=64\n')
    const server = await startServer({ DATA_DIR: 'memory://', PASSWORD_MIN_LENGTH: '8' }, folder)

    const answer = await send('POST', `${server.url}/auth/register`, { body })
    await server.end('SIGTERM')

    expect(answer).toMatchObject({ status: 201, body: { expiresIn: 77 } })
  })

  test('in development, creates .env with new secrets and mode 0600, and never changes an existing one', async () => {
    const folder = temporaryFolder()
    copyFileSync('.env.example', join(folder, '.env.example'))
    const makeEnv = () =>
      execFileSync(
        process.execPath,
        ['--import', resolve('node_modules/tsx/dist/loader.mjs'), resolve('src/secrets/cli/dev-env.ts')],
        {
          cwd: folder,
        },
      )

    makeEnv()
    const made = readFileSync(join(folder, '.env'), 'utf8')
    makeEnv()

    expect(statSync(join(folder, '.env')).mode & 0o777).toBe(0o600)
    expect(readFileSync(join(folder, '.env'), 'utf8')).toBe(made)
    const server = await startServer(
      { JWT_ACCESS_SECRET: '', JWT_REFRESH_SECRET: '', DATA_DIR: 'memory://' },
      folder,
    )
    expect((await server.end('SIGTERM')).code).toBe(0)
  })

  test('notices a replaced secret file, at the latest on SIGHUP [E2]', async () => {
    const folder = temporaryFolder()
    const file = join(folder, 'refresh-secret')
    const secret = () =>
      execFileSync(process.execPath, ['-p', "crypto.randomBytes(48).toString('base64url')"])
    writeFileSync(file, secret())
    const server = await startServer({
      DATA_DIR: 'memory://',
      JWT_REFRESH_SECRET: '',
      JWT_REFRESH_SECRET_FILE: file,
      SECRETS_REFRESH_SECONDS: '1',
    })
    const kidOf = (token: string | undefined) =>
      JSON.parse(Buffer.from(token?.split('.')[0] ?? '', 'base64url').toString()).kid
    const { refreshToken: before } = await send('POST', `${server.url}/auth/register`, { body })
    writeFileSync(file, secret())
    server.process.kill('SIGHUP')

    let kid = kidOf(before)
    let token = before as string
    for (const deadline = Date.now() + 10_000; kid === kidOf(before) && Date.now() < deadline; ) {
      const answer = await send('POST', `${server.url}/auth/refresh`, { refreshToken: token })
      expect(answer.status).toBe(200)
      token = answer.refreshToken as string
      kid = kidOf(token)
    }

    expect(kid).not.toBe(kidOf(before))
    expect((await send('POST', `${server.url}/auth/refresh`, { refreshToken: token })).status).toBe(200)
    await server.end('SIGTERM')
  })
})
