import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, describe, expect, test } from '@jest/globals'
import { type Config, loadConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'
import { takeEnvironment } from '../../src/config/environment.ts'
import { ownOriginRule, ownOrigins } from '../../src/config/origins.ts'
import { settings } from '../../src/config/settings.ts'
import { newSecret } from '../../src/secrets/cli/generate.ts'

type Environment = Record<string, string | undefined>

const folder = mkdtempSync(join(tmpdir(), 'config-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Ranges that together have most or all public addresses of IPv4 or IPv6. */
const coverings = [
  '0.0.0.0/1,128.0.0.0/1',
  '128.0.0.0/1, 0.0.0.0/1',
  '0.0.0.0/2,64.0.0.0/2,128.0.0.0/2,192.0.0.0/2',
  '10.0.0.0/8,0.0.0.0/1,64.0.0.0/2',
  '1.0.0.0/8,2.0.0.0/7,4.0.0.0/6,8.0.0.0/5,16.0.0.0/4,32.0.0.0/3,64.0.0.0/2,128.0.0.0/2,192.0.0.0/3',
  '::/1,8000::/1',
  '2000::/3',
  '2000::/4,3000::/4',
  '::ffff:0:0/96',
  '::/8',
  '::ffff:0.0.0.0/97,128.0.0.0/1',
]

const base = {
  PUBLIC_URL: 'https://auth.example.com',
  DATA_DIR: '.data',
  JWT_ACCESS_SECRET: newSecret(),
  JWT_REFRESH_SECRET: newSecret(),
}

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

async function failure(env: Environment): Promise<ConfigError> {
  const result = await loadConfig(env).catch((error: unknown) => error)
  if (result instanceof ConfigError) return result
  throw new Error(`expected a ConfigError, got ${inspect(result)}`)
}

/** Names of the settings that are reported, one per problem. */
const faults = async (env: Environment) =>
  (await failure(env)).problems.map((problem) => problem.slice(0, problem.indexOf(':')))

/** The same; none where the settings are valid. */
const refused = (env: Environment) =>
  loadConfig(env).then(
    () => [],
    () => faults(env),
  )

/** What can be compared of a configuration: everything but the functions. */
const plain = ({ secrets, ...rest }: Config) => rest

describe('defaults', () => {
  const expected = {
    http: {
      host: '127.0.0.1',
      port: 3000,
      publicUrl: 'https://auth.example.com',
      audience: undefined,
      corsOrigins: [],
      secureCookies: true,
      hstsIncludeSubdomains: false,
      trustProxy: undefined,
    },
    database: { url: expect.any(Function), folder: '.data' },
    keys: { refreshSeconds: 60, maxStaleSeconds: 86400 },
    accessTokenSeconds: 900,
    sessions: { idleSeconds: 604800, absoluteSeconds: 2592000, graceSeconds: 10, perUser: 20 },
    limits: {
      loginAccount: { attempts: 10, seconds: 900 },
      loginAddress: { attempts: 100, seconds: 900 },
      registerAddress: { attempts: 20, seconds: 3600 },
    },
    auditDays: 90,
    passwords: { cost: 12, minLength: 15 },
    logLevel: 'info',
  }

  test('are those of production', async () => {
    expect(plain(await loadConfig(base))).toMatchObject(expected)
  })

  test('hold for every setting that is empty', async () => {
    const empty = Object.fromEntries(Object.keys(settings.shape).map((name) => [name, '']))

    expect(plain(await loadConfig({ ...empty, ...base }))).toMatchObject(expected)
  })

  test('leave PUBLIC_URL out and cookies insecure in development', async () => {
    const { PUBLIC_URL, ...secrets } = base

    const config = await loadConfig({ ...secrets, NODE_ENV: 'development' })

    expect(config.http).toMatchObject({ publicUrl: undefined, secureCookies: false })
  })

  test('read the names of Object.prototype as nothing', async () => {
    const env: Environment = JSON.parse('{"__proto__":{"PORT":"1"},"constructor":"x","toString":"y"}')

    expect((await loadConfig({ ...env, ...base })).http.port).toBe(3000)
  })
})

describe('numbers', () => {
  const numbers: [name: string, min: number, max: number, read: (config: Config) => number][] = [
    ['PORT', 0, 65535, (config) => config.http.port],
    ['SECRETS_REFRESH_SECONDS', 1, 86400, (config) => config.keys.refreshSeconds],
    ['SECRETS_MAX_STALE_SECONDS', 0, 2592000, (config) => config.keys.maxStaleSeconds],
    ['ACCESS_TOKEN_SECONDS', 1, 3600, (config) => config.accessTokenSeconds],
    ['SESSION_IDLE_SECONDS', 1, 31536000, (config) => config.sessions.idleSeconds],
    ['SESSION_ABSOLUTE_SECONDS', 1, 31536000, (config) => config.sessions.absoluteSeconds],
    ['SESSIONS_PER_USER', 1, 1000, (config) => config.sessions.perUser],
    ['REFRESH_GRACE_SECONDS', 0, 60, (config) => config.sessions.graceSeconds],
    ['BCRYPT_COST', 10, 16, (config) => config.passwords.cost],
    ['PASSWORD_MIN_LENGTH', 8, 64, (config) => config.passwords.minLength],
    ['AUDIT_DAYS', 1, 3650, (config) => config.auditDays],
    ['METRICS_PORT', 0, 65535, (config) => config.http.metricsPort ?? Number.NaN],
  ]
  // Lifetimes of a session that do not stand in each other's way.
  const room: Record<string, Environment> = {
    SESSION_IDLE_SECONDS: { SESSION_ABSOLUTE_SECONDS: '31536000' },
    SESSION_ABSOLUTE_SECONDS: { SESSION_IDLE_SECONDS: '1' },
  }
  const withValue = (name: string, value: string) => ({ ...base, ...room[name], [name]: value })

  test.each(numbers)('%s is from %d to %d, both included', async (name, min, max, read) => {
    const [low, high] = await Promise.all([min, max].map((value) => loadConfig(withValue(name, `${value}`))))

    expect([low, high].map((config) => config && read(config))).toEqual([min, max])
  })

  test.each(numbers)('%s is refused below %d and above %d', async (name, min, max) => {
    for (const value of [min - 1, max + 1]) expect(await faults(withValue(name, `${value}`))).toEqual([name])
  })

  const notDigits = [' 12', '12 ', '12\n', ...'1e3 +12 -12 0x10 12.0 1_2 １２ Infinity NaN'.split(' ')]
  test.each(numbers)('%s takes decimal digits only', async (name) => {
    for (const value of [...notDigits, '9'.repeat(400)])
      expect(await faults(withValue(name, value))).toEqual([name])
  })

  test.each([
    ['4', 'test', []],
    ['9', 'test', []],
    ['3', 'test', ['BCRYPT_COST']],
    ['4', 'development', ['BCRYPT_COST']],
    ['9', 'development', ['BCRYPT_COST']],
    ['9', 'production', ['BCRYPT_COST']],
    ['10', 'development', []],
  ])('BCRYPT_COST=%s in %s: problems %j', async (BCRYPT_COST, NODE_ENV, expected) => {
    const env = { ...base, BCRYPT_COST, NODE_ENV }

    const outcome = await loadConfig(env).then(
      () => [],
      () => faults(env),
    )

    expect(outcome).toEqual(expected)
  })

  test('B4 the idle limit may equal the absolute one and not pass it', async () => {
    const limits = (idle: string, absolute: string) => ({
      ...base,
      SESSION_IDLE_SECONDS: idle,
      SESSION_ABSOLUTE_SECONDS: absolute,
    })

    expect((await loadConfig(limits('60', '60'))).sessions).toMatchObject({
      idleSeconds: 60,
      absoluteSeconds: 60,
    })
    expect(await faults(limits('61', '60'))).toEqual(['SESSION_IDLE_SECONDS'])
    expect(await faults({ ...base, SESSION_ABSOLUTE_SECONDS: '60' })).toEqual(['SESSION_IDLE_SECONDS'])
  })
})

describe('texts', () => {
  test.each<[name: string, value: string, group: object]>([
    ...['0.0.0.0', '::', 'auth-1.internal'].map((host): [string, string, object] => [
      'HOST',
      host,
      { http: { host } },
    ]),
    ...[
      'https://auth.example.com:8443',
      'http://localhost:3000',
      'http://127.0.0.1',
      'http://[::1]:8080',
    ].map((publicUrl): [string, string, object] => ['PUBLIC_URL', publicUrl, { http: { publicUrl } }]),
    ['PUBLIC_URL', 'https://auth.example.com/', { http: { publicUrl: 'https://auth.example.com' } }],
    ['JWT_AUDIENCE', 'urn:api', { http: { audience: 'urn:api' } }],
    ['CORS_ORIGINS', 'https://a.example', { http: { corsOrigins: ['https://a.example'] } }],
    [
      'CORS_ORIGINS',
      'https://a.example, http://localhost:5173',
      { http: { corsOrigins: ['https://a.example', 'http://localhost:5173'] } },
    ],
    ['COOKIE_SECURE', 'true', { http: { secureCookies: true } }],
    ['HSTS_INCLUDE_SUBDOMAINS', 'true', { http: { hstsIncludeSubdomains: true } }],
    ['TRUST_PROXY', '1', { http: { trustProxy: 1 } }],
    ['TRUST_PROXY', '10', { http: { trustProxy: 10 } }],
    ['TRUST_PROXY', '10.0.0.1', { http: { trustProxy: ['10.0.0.1'] } }],
    ['TRUST_PROXY', '10.0.0.0/8, fd00::/8', { http: { trustProxy: ['10.0.0.0/8', 'fd00::/8'] } }],
    ...[
      '10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10',
      'fc00::/7,fe80::/10',
      '::ffff:10.0.0.0/104',
    ].map((ranges): [string, string, object] => [
      'TRUST_PROXY',
      ranges,
      { http: { trustProxy: ranges.split(',') } },
    ]),
    ['TRUST_PROXY', '1.2.3.4/32,::1/128', { http: { trustProxy: ['1.2.3.4/32', '::1/128'] } }],
    ['LIMIT_LOGIN_ACCOUNT', '1/1', { limits: { loginAccount: { attempts: 1, seconds: 1 } } }],
    ['LIMIT_LOGIN_ADDRESS', 'off', { limits: { loginAddress: undefined } }],
    [
      'LIMIT_REGISTER_ADDRESS',
      '1000000/86400',
      { limits: { registerAddress: { attempts: 1e6, seconds: 86400 } } },
    ],
    ['DATA_DIR', 'memory://', { database: { folder: 'memory://' } }],
    ...['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'].map(
      (level): [string, string, object] => ['LOG_LEVEL', level, { logLevel: level }],
    ),
  ])('%s may be %j', async (name, value, group) => {
    expect(await loadConfig({ ...base, [name]: value })).toMatchObject(group)
  })

  // Values apart by white space; those that have some follow.
  test.each([
    ['NODE_ENV', 'prod Production staging', [' test']],
    ['HOST', 'http://localhost localhost/', ['a b', ' ']],
    [
      'PUBLIC_URL',
      `http://auth.example.com http://localhost.example.com http://localhost@example.com auth.example.com
       https://auth.example.com/auth https://auth.example.com// https://auth.example.com?x
       https://auth.example.com#x https://user@auth.example.com https://auth.example.com:443
       https://AUTH.example.com https://*.example.com ftp://auth.example.com file:/// null`,
      [' https://auth.example.com'],
    ],
    ['JWT_AUDIENCE', '', [' ', '\t', 'a b', 'urn:api\n']],
    [
      'CORS_ORIGINS',
      `* https://*.example.com https://a.example/ https://a.example/path https://a.example:443 https://A.example
       null a.example file:// https://a.example, https://a.example,,https://b.example`,
      ['https://a.example https://b.example'],
    ],
    ...['COOKIE_SECURE', 'HSTS_INCLUDE_SUBDOMAINS'].map((name): [string, string, string[]] => [
      name,
      'TRUE 1 yes auto',
      [' true'],
    ]),
    [
      'TRUST_PROXY',
      `0 11 -1 1e0 true false * 0.0.0.0/0 ::/0 10.0.0.1,0.0.0.0/0 10.0.0.0/33 fd00::/129 10.0.0.0/ 10.0.0.0/8/8
       10.0.0.0/255.0.0.0 10.0.0 10.0.0.1, proxy.internal loopback linklocal uniquelocal`,
      ['loopback, 10.0.0.1', 'fe80::1%eth0', ...coverings],
    ],
    ['DATABASE_URL', 'auth mysql://db/auth https://db/auth ref+nowhere://db', []],
    ['JWT_ALGORITHM', 'none hs256 HS512 HS256,RS256', []],
    ...['LIMIT_LOGIN_ACCOUNT', 'LIMIT_LOGIN_ADDRESS', 'LIMIT_REGISTER_ADDRESS'].map(
      (name): [string, string, string[]] => [
        name,
        'OFF 0 10 0/900 10/0 1000001/900 10/86401 -1/900 1.5/900 10/900/1 /900 10/ 1e1/900 0x1/900',
        ['10 / 900', ' off'],
      ],
    ),
    ['LOG_LEVEL', 'INFO verbose', ['info ']],
  ])('%s refuses what is not valid, in one line [D5]', async (name, text, spaced) => {
    for (const value of [...(text.match(/\S+/g) ?? []), ...spaced])
      expect([value, await faults({ ...base, [name]: value })]).toEqual([value, [name]])
  })
})

describe('rules between settings', () => {
  const { PUBLIC_URL, ...secrets } = base

  test.each([
    ['https://auth.example.com/auth', / Remove the path\.$/],
    ['https://auth.example.com/?a', / Remove the path\.$/],
    ['auth.example.com', /in lower case and without a path\.$/],
    ['https://*.example.com/', /in lower case and without a path\.$/],
  ])('PUBLIC_URL %s is refused with what to change', async (url, problem) => {
    const error = await loadConfig({ ...secrets, PUBLIC_URL: url }).catch((error: Error) => error)

    expect(error).toBeInstanceOf(ConfigError)
    expect((error as ConfigError).problems).toEqual([
      expect.stringMatching(/^PUBLIC_URL: must be an origin, scheme:/),
    ])
    expect((error as ConfigError).message).toMatch(problem)
  })

  test('PUBLIC_URL is required in production', async () => {
    expect(await faults(secrets)).toEqual(['PUBLIC_URL'])
    expect(await faults({ ...secrets, NODE_ENV: 'production' })).toEqual(['PUBLIC_URL'])
  })

  test.each([
    ['production', {}, ['DATABASE_URL']],
    [undefined, { DATA_DIR: '' }, ['DATABASE_URL']],
    ['production', { DATA_DIR: '.data' }, []],
    ['production', { DATA_DIR: 'memory://' }, []],
    ['production', { DATABASE_URL: 'postgres://db/auth' }, []],
    ['production', { DATABASE_URL_FILE: file('database-url', 'postgres://db/auth') }, []],
    ['development', {}, []],
    ['test', {}, []],
  ])(
    'asks for a database in production, and does not start on an empty one: %s, %j: %j',
    async (NODE_ENV, database, expected) => {
      expect(await refused({ ...base, DATA_DIR: undefined, NODE_ENV, ...database })).toEqual(expected)
    },
  )

  test.each([
    ['production', 'http://app.example.com', ['CORS_ORIGINS']],
    ['production', 'https://app.example.com,http://10.0.0.1:5173', ['CORS_ORIGINS']],
    ['production', 'http://localhost.example.com', ['CORS_ORIGINS']],
    ['production', 'https://app.example.com,http://localhost:5173,http://127.0.0.1,http://[::1]:1', []],
    ['development', 'http://app.example.com', []],
  ])(
    'takes http origins of other machines outside production only: %s, %s: %j',
    async (NODE_ENV, CORS_ORIGINS, expected) => {
      expect(await refused({ ...base, NODE_ENV, CORS_ORIGINS })).toEqual(expected)
    },
  )

  test.each([
    ['production', '0', ['NODE_TLS_REJECT_UNAUTHORIZED']],
    ['production', '1', []],
    ['production', '', []],
    ['development', '0', []],
  ])(
    'does not start in production where Node verifies no certificate: %s, NODE_TLS_REJECT_UNAUTHORIZED=%s: %j',
    async (NODE_ENV, NODE_TLS_REJECT_UNAUTHORIZED, expected) => {
      expect(await refused({ ...base, NODE_ENV, NODE_TLS_REJECT_UNAUTHORIZED })).toEqual(expected)
    },
  )

  test.each([
    ['https://auth.example.com', ['COOKIE_SECURE']],
    ['https://localhost.example.com', ['COOKIE_SECURE']],
  ])('C1 COOKIE_SECURE=false cannot start in production with %s', async (url, expected) => {
    expect(await faults({ ...secrets, PUBLIC_URL: url, COOKIE_SECURE: 'false' })).toEqual(expected)
  })

  test.each([
    ['production', 'http://localhost:3000'],
    ['production', 'http://127.0.0.1:3000'],
    ['production', 'https://localhost'],
    ['development', 'https://auth.example.com'],
    ['test', undefined],
  ])('C1 COOKIE_SECURE=false may be in %s with %s', async (NODE_ENV, url) => {
    const config = await loadConfig({ ...secrets, NODE_ENV, PUBLIC_URL: url, COOKIE_SECURE: 'false' })

    expect(config.http.secureCookies).toBe(false)
  })

  test.each([
    ['production', 'https://auth.example.com', true],
    ['production', 'http://localhost:3000', true],
    ['development', 'https://auth.example.com', true],
    ['test', 'https://auth.example.com:8443', true],
    ['development', 'https://localhost', true],
    ['development', 'http://localhost:3000', false],
    ['development', undefined, false],
  ])(
    'makes cookies secure by default under %s with PUBLIC_URL %s: %s [C1]',
    async (NODE_ENV, url, secure) => {
      const config = await loadConfig({ ...secrets, NODE_ENV, PUBLIC_URL: url })

      expect(config.http.secureCookies).toBe(secure)
    },
  )
})

describe('secrets', () => {
  test.each(['JWT_ACCESS_SECRET', 'JWT_REFRESH_SECRET'])('E1 %s is required', async (name) => {
    expect(await faults({ ...base, [name]: undefined })).toEqual([name])
    expect(await faults({ ...base, [name]: '' })).toEqual([name])
  })

  test.each([
    ['JWT_REFRESH_SECRET', 'JWT_ACCESS_SECRET'],
    ['JWT_ACCESS_SECRET_PREVIOUS', 'JWT_ACCESS_SECRET'],
    ['JWT_REFRESH_SECRET_PREVIOUS', 'JWT_REFRESH_SECRET'],
    ['JWT_REFRESH_SECRET_PREVIOUS', 'JWT_ACCESS_SECRET'],
  ] as const)('E1 %s must differ from %s', async (name, other) => {
    const { problems } = await failure({ ...base, [name]: base[other] })

    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(/is the same as/)
    expect(problems[0]).toContain(name)
    expect(problems[0]).toContain(other)
  })

  test('E1 the two previous ones must differ too, and every one is judged', async () => {
    const previous = newSecret()

    expect(
      await faults({ ...base, JWT_ACCESS_SECRET_PREVIOUS: previous, JWT_REFRESH_SECRET_PREVIOUS: previous }),
    ).toEqual(['JWT_REFRESH_SECRET_PREVIOUS'])
    expect(await faults({ ...base, JWT_ACCESS_SECRET_PREVIOUS: 'short' })).toEqual([
      'JWT_ACCESS_SECRET_PREVIOUS',
    ])
  })

  test.each([undefined, 'postgres://u:p@db/auth', 'postgresql://db:5433/auth'])(
    'DATABASE_URL may be %j',
    async (url) => {
      const config = await loadConfig({ ...base, DATABASE_URL: url })

      expect(config.database.url()).toBe(url)
    },
  )

  test.each([
    ['production', 'http://vault.example.com:8200', ['VAULT_ADDR']],
    ['production', 'https://vault.example.com:8200', []],
    ['production', 'http://127.0.0.1:8200', []],
    ['development', 'http://vault.example.com:8200', []],
  ])('E5 in %s VAULT_ADDR=%s: %j is refused', async (NODE_ENV, VAULT_ADDR, expected) => {
    const refused = await loadConfig({ ...base, NODE_ENV, VAULT_ADDR }).then(
      () => [],
      ({ problems }: ConfigError) => problems.map((problem) => problem.split(':')[0]),
    )

    expect(refused).toEqual(expected)
  })

  test('E2 NAME_FILE gives every secret, and the URL of the database', async () => {
    const previous = newSecret()
    const config = await loadConfig({
      PUBLIC_URL: base.PUBLIC_URL,
      JWT_ACCESS_SECRET_FILE: file('access', `${base.JWT_ACCESS_SECRET}\n`),
      JWT_REFRESH_SECRET: `ref+file://${file('refresh', base.JWT_REFRESH_SECRET)}`,
      JWT_ACCESS_SECRET_PREVIOUS_FILE: file('previous', previous),
      JWT_REFRESH_SECRET_PREVIOUS_FILE: '',
      DATABASE_URL_FILE: file('database', 'postgres://u:p@db/auth\n'),
    })

    const { versions } = await config.secrets.load()

    expect(config.database.url()).toBe('postgres://u:p@db/auth')
    expect(versions).toMatchObject({
      JWT_ACCESS_SECRET: [{ value: base.JWT_ACCESS_SECRET }],
      JWT_REFRESH_SECRET: [{ value: base.JWT_REFRESH_SECRET }],
      JWT_ACCESS_SECRET_PREVIOUS: [{ value: previous }],
      JWT_REFRESH_SECRET_PREVIOUS: [],
    })
  })

  test.each([
    'JWT_ACCESS_SECRET',
    'JWT_ACCESS_SECRET_PREVIOUS',
    'JWT_REFRESH_SECRET',
    'JWT_REFRESH_SECRET_PREVIOUS',
    'DATABASE_URL',
  ])('E2 %s and its _FILE both set is an error, even where they say the same', async (name) => {
    const value = name === 'DATABASE_URL' ? 'postgres://db/auth' : newSecret()
    const env = { ...base, [name]: value, [`${name}_FILE`]: file(name, value) }

    const { problems } = await failure(env)

    expect(problems).toEqual([expect.stringMatching(`^${name}: ${name}_FILE is set too`)])
  })

  test.each([
    ['relative/path', 'absolute'],
    [join(folder, 'nowhere'), 'missing'],
    [folder, 'regular file'],
  ])('E2 DATABASE_URL_FILE=%s is a problem of DATABASE_URL: %s', async (path, word) => {
    const { problems } = await failure({ ...base, DATABASE_URL_FILE: path })

    expect(problems).toEqual([expect.stringMatching(/^DATABASE_URL: /)])
    expect(problems[0]).toContain(word)
  })
})

test('a file that every user may write is used, with a warning by its setting [E2]', async () => {
  const url = file('open-url', 'postgres://u:p@db/auth')
  const secretId = file('secret-id', 'x')
  chmodSync(url, 0o666)
  chmodSync(secretId, 0o602)
  const token = file('token', 'x')

  const config = await loadConfig({
    ...base,
    DATABASE_URL_FILE: url,
    VAULT_SECRET_ID_FILE: secretId,
    VAULT_TOKEN_FILE: token,
  })

  const warning = 'Every user can write the file. Run chmod o-w on it.'
  expect(config.fileWarnings).toEqual([`DATABASE_URL: ${warning}`, `VAULT_SECRET_ID: ${warning}`])
})

describe('beside a secret file', () => {
  const withFile = (name: string, content: string, more: Environment = {}) => ({
    ...base,
    JWT_REFRESH_SECRET: undefined,
    JWT_REFRESH_SECRET_FILE: file(name, content),
    ...more,
  })
  const loaded = async (env: Environment) => (await loadConfig(env)).secrets.load()

  test.each([
    ['NAME_FILE', (path: string) => ({ JWT_REFRESH_SECRET_FILE: path })],
    ['a reference', (path: string) => ({ JWT_REFRESH_SECRET: `ref+file://${path}` })],
  ])('the one of the previous secret is read by itself, with %s [E2]', async (_how, setting) => {
    const [current, previous] = [newSecret(), newSecret()]
    const path = file('rotated', `${current}\n`)
    file('rotated.previous', `${previous}\n`)

    const { versions, problems } = await loaded({ ...base, JWT_REFRESH_SECRET: undefined, ...setting(path) })

    expect(problems).toEqual([])
    expect(versions).toMatchObject({
      JWT_REFRESH_SECRET: [{ value: current }],
      JWT_REFRESH_SECRET_PREVIOUS: [{ value: previous, source: `ref+file://${path}.previous` }],
    })
  })

  test('there need not be one, and one that comes later is read at the next load [E2]', async () => {
    const { secrets } = await loadConfig(withFile('alone', newSecret()))
    const before = await secrets.load()
    const previous = newSecret()
    file('alone.previous', previous)

    expect(before).toMatchObject({ problems: [], versions: { JWT_REFRESH_SECRET_PREVIOUS: [] } })
    expect((await secrets.load()).versions).toMatchObject({
      JWT_REFRESH_SECRET_PREVIOUS: [{ value: previous }],
    })
  })

  test('a _PREVIOUS_FILE that is not there yet counts as unset [E2]', async () => {
    const missing = join(folder, 'not-yet')

    expect(await loaded({ ...base, JWT_REFRESH_SECRET_PREVIOUS_FILE: missing })).toMatchObject({
      problems: [],
      versions: { JWT_REFRESH_SECRET_PREVIOUS: [] },
    })
  })

  test('the setting for it wins over it [E2]', async () => {
    const previous = newSecret()
    file('both.previous', newSecret())

    const { versions } = await loaded(
      withFile('both', newSecret(), { JWT_REFRESH_SECRET_PREVIOUS_FILE: file('elsewhere', previous) }),
    )

    expect(versions.JWT_REFRESH_SECRET_PREVIOUS).toMatchObject([{ value: previous }])
  })

  test('the same secret in both, as a rotation cut off in the middle leaves it, is used once [E2]', async () => {
    const secret = newSecret()
    file('cut.previous', secret)

    expect(await loaded(withFile('cut', secret))).toMatchObject({
      problems: [],
      versions: { JWT_REFRESH_SECRET: [{ value: secret }], JWT_REFRESH_SECRET_PREVIOUS: [] },
    })
  })

  test('one that breaks the policy is refused like any other [E1]', async () => {
    file('weak.previous', 'short')

    expect(await faults(withFile('weak', newSecret()))).toEqual(['JWT_REFRESH_SECRET_PREVIOUS'])
  })

  test.each([
    ['npm wrote its banner into it', (secret: string) => `> a@1 secrets\n\n${secret}\n`],
    ['it is in quotes', (secret: string) => `"${secret}"\n`],
    ['it begins with a BOM', (secret: string) => `\ufeff${secret}`],
    ['two newlines end it', (secret: string) => `${secret}\n\n`],
  ])('a secret is refused if %s, by setting and rule [E1]', async (_what, wrap) => {
    const { problems } = await failure(withFile('wrapped', wrap(newSecret())))

    expect(problems).toEqual([
      expect.stringMatching(
        /^JWT_REFRESH_SECRET: (contains a line break|begins or ends with white space, a BOM)/,
      ),
    ])
  })
})

describe('the report', () => {
  test('has all problems at once, one a line', async () => {
    const error = await failure({
      NODE_ENV: 'prod',
      PORT: 'x',
      PUBLIC_URL: 'nowhere',
      CORS_ORIGINS: '*',
      TRUST_PROXY: 'true',
      BCRYPT_COST: '3',
      DATABASE_URL: 'mysql://db',
      JWT_ACCESS_SECRET: 'short',
      JWT_REFRESH_SECRET_FILE: join(folder, 'nowhere'),
      JWT_REFRESH_SECRET_PREVIOUS: 'ref+nowhere://x',
      LOG_LEVEL: 'loud',
    })

    const names = error.problems.map((problem) => /^([A-Z_]+): \S.*$/.exec(problem)?.[1])
    expect(names.sort()).toEqual(
      `BCRYPT_COST CORS_ORIGINS DATABASE_URL JWT_ACCESS_SECRET JWT_REFRESH_SECRET JWT_REFRESH_SECRET_PREVIOUS
       LOG_LEVEL NODE_ENV PORT PUBLIC_URL TRUST_PROXY`.split(/\s+/),
    )
    expect(error.message.split('\n')).toEqual(error.problems)
  })

  // The canary is marked by a text that occurs in no message, and random around it.
  const canary = () =>
    `${randomBytes(6).toString('base64url')}QzK7canaryWv5${randomBytes(12).toString('base64url')}`
  const value = canary()
  test.each<[what: string, env: Environment]>([
    ['a short secret', { JWT_ACCESS_SECRET: value.slice(0, 31) }],
    ['a repeated secret', { JWT_ACCESS_SECRET: value.repeat(9).slice(0, 200), JWT_REFRESH_SECRET: value }],
    ['a secret used twice', { JWT_ACCESS_SECRET: value + value, JWT_REFRESH_SECRET: value + value }],
    ['a placeholder', { JWT_ACCESS_SECRET: `<${value}>` }],
    ['a PEM key', { JWT_ACCESS_SECRET: `-----BEGIN PRIVATE KEY-----\n${value}` }],
    ['a reference of an unknown scheme', { JWT_ACCESS_SECRET: `ref+${value}://${value}` }],
    ['a malformed reference', { JWT_REFRESH_SECRET: `ref+${value}` }],
    ['a secret where its path should be', { JWT_ACCESS_SECRET: undefined, JWT_ACCESS_SECRET_FILE: value }],
    ['a secret and its file', { JWT_REFRESH_SECRET_FILE: file('canary', value) }],
    [
      'a short secret in a file',
      { JWT_ACCESS_SECRET: undefined, JWT_ACCESS_SECRET_FILE: file('short', value.slice(0, 31)) },
    ],
    [
      'a secret in a file that is not UTF-8',
      {
        JWT_ACCESS_SECRET: undefined,
        JWT_ACCESS_SECRET_FILE: file('binary', Buffer.concat([Buffer.from(value), Buffer.from([0xff])])),
      },
    ],
    ['a URL of another database', { DATABASE_URL: `mysql://user:${value}@db/auth` }],
    ['a URL that is none', { DATABASE_URL: `//user:${value}@db/auth` }],
    ['a URL in a file', { DATABASE_URL_FILE: file('url', value) }],
  ])('E6 shows nothing of %s', async (_what, env) => {
    const error = await failure({ ...base, ...env })

    const shown = [
      inspect(error, { depth: 9, showHidden: true }),
      String(error.stack),
      JSON.stringify(error),
    ].join()
    const pieces = Array.from({ length: value.length - 5 }, (_, at) => value.slice(at, at + 6))
    expect(pieces.filter((piece) => shown.includes(piece))).toEqual([])
  })
})

test('the result is frozen, every object in it', async () => {
  const config = await loadConfig({ ...base, CORS_ORIGINS: 'https://a.example', TRUST_PROXY: '10.0.0.1' })

  const members = (value: object): object[] => [
    value,
    ...Object.values(value).flatMap((member) =>
      typeof member === 'object' && member !== null ? members(member) : [],
    ),
  ]
  expect(members(config).length).toBeGreaterThan(8)
  expect(members(config).filter((member) => !Object.isFrozen(member))).toEqual([])
  expect(() => Object.assign(config.http, { secureCookies: false })).toThrow(TypeError)
})

test('E6 no secret shows in an inspected or printed configuration', async () => {
  const config = await loadConfig({ ...base, JWT_ACCESS_SECRET_PREVIOUS: newSecret() })

  const shown = inspect(config, { depth: 9, showHidden: true }) + JSON.stringify(config)

  expect(shown).toContain(base.PUBLIC_URL)
  expect(shown).not.toContain(base.JWT_ACCESS_SECRET)
  expect(shown).not.toContain(base.JWT_REFRESH_SECRET)
})

describe('takeEnvironment', () => {
  const inFolder = <T>(action: () => T): T => {
    const before = { cwd: process.cwd(), env: { ...process.env } }
    process.chdir(folder)
    try {
      return action()
    } finally {
      process.chdir(before.cwd)
      for (const name of Object.keys(process.env)) delete process.env[name]
      Object.assign(process.env, before.env)
    }
  }

  test('completes the environment by .env, which never wins', () => {
    file('.env', 'PORT=1111\nHOST=from-file\n')

    const env = inFolder(() => {
      process.env.PORT = '2222'
      delete process.env.HOST
      return takeEnvironment()
    })

    expect(env).toMatchObject({ PORT: '2222', HOST: 'from-file' })
  })

  const problemsOf = (text: string | Buffer, set: Environment = {}) => {
    file('.env', text)
    try {
      inFolder(() => {
        Object.assign(process.env, set)
        takeEnvironment()
      })
      return []
    } catch (error) {
      if (error instanceof ConfigError) return error.problems
      throw error
    }
  }

  test.each([
    ['a reference', 'JWT_ACCESS_SECRET=ref+vault://secret/auth#/ACCESS', 'JWT_ACCESS_SECRET'],
    [
      'an exported reference',
      'export JWT_REFRESH_SECRET = ref+awssecrets://auth#/KEY # why',
      'JWT_REFRESH_SECRET',
    ],
    ['a password in a URL', 'DATABASE_URL=postgres://auth:pa#ss@db/auth', 'DATABASE_URL'],
    ['a path', 'JWT_ACCESS_SECRET_FILE=/run/secrets/a#b', 'JWT_ACCESS_SECRET_FILE'],
    ['a value that begins with it', 'VAULT_TOKEN=#token', 'VAULT_TOKEN'],
    ['a value after a colon', 'VAULT_SECRET_ID: to#ken', 'VAULT_SECRET_ID'],
    ['a credential of an SDK', 'AZURE_CLIENT_SECRET=a~b#c', 'AZURE_CLIENT_SECRET'],
    ['the first line, after a BOM', '\ufeffPORT=3000#', 'PORT'],
  ])('says that a # without quotes needs them: in %s', (_where, line, name) => {
    expect(problemsOf(`A=1\n${line}\n`.replace(/^A=1\n(?=\ufeff)/, ''))).toEqual([
      `${name}: An unquoted # cuts it off in .env. Put the value in quotes.`,
    ])
  })

  test.each([
    'JWT_ACCESS_SECRET="ref+vault://secret/auth#/ACCESS"',
    "JWT_ACCESS_SECRET='ref+vault://secret/auth#/ACCESS' # a comment",
    'PORT=3000 # a comment',
    'PORT=3000\t#a comment',
    'PORT= # a comment',
    '# PORT=3000#',
    'COLOUR=#fff',
  ])('takes a # that is meant: %s', (line) => {
    expect(problemsOf(`${line}\r\n`)).toEqual([])
  })

  test('names every value that a # cuts at once, and none that the environment sets anyway', () => {
    const text = 'PORT=3000#\nHOST=a#b\nDATABASE_URL=postgres://a:#@b\n'

    expect(problemsOf(text, { HOST: 'localhost' }).map((problem) => problem.split(':')[0])).toEqual([
      'PORT',
      'DATABASE_URL',
    ])
  })

  test.each([
    ['a name alone', 'PORT\nHOST=a\n', [1]],
    ['a secret alone, after a quoted one over lines', 'A="1\n2 = 3\n"\nab+cd\n', [4]],
    ['lines of npm', '\n> auth@1.0.0 secrets\n> tsx cli.ts\n\nPORT=1\n', [2, 3]],
    ['an exported name', "A='1'\r\nexport HOST\r\n", [2]],
  ])('reports lines of .env without =: %s', (_what, text, lines) => {
    expect(problemsOf(text)).toEqual(
      lines.map((line) => `.env: line ${line} has no =. Write NAME=value, or begin the line with #.`),
    )
  })

  test.each([
    ['comments and empty lines', '# a\n\n \t\n  # b\nA=1\n'],
    ['values over several lines', 'A="-----BEGIN\nabc\n-----END" # why\nB=\'x\ny\'\nC=`x\n\ny`\n'],
    ['colons, spaces and export', 'A: 1\nB = 2\nexport C=3\nD-e.f=\n  G=1\n'],
    ['a quote that is not closed', 'A="1\nB=2\n'],
  ])('accepts a .env with %s', (_what, text) => {
    expect(problemsOf(text)).toEqual([])
  })

  const utf16 = '.env: is UTF-16. Save it as UTF-8.'
  test.each([
    ['UTF-16 with a BOM', Buffer.from('\ufeffPORT=1\n', 'utf16le'), utf16],
    ['UTF-16 without one', Buffer.from('PORT=1\n', 'utf16le'), utf16],
    ['UTF-16, big-endian', Buffer.from('\ufeffPORT=1\n', 'utf16le').swap16(), utf16],
    ['Latin-1', Buffer.from('HOST=b\u00fcro\n', 'latin1'), '.env: is not UTF-8. Save it as UTF-8.'],
  ])('refuses a .env in %s by its name', (_encoding, bytes, problem) => {
    expect(problemsOf(bytes)).toEqual([problem])
  })

  test('reads a .env in UTF-8 with a BOM', () => {
    file('.env', '\ufeffPORT=1111\n')

    expect(inFolder(takeEnvironment)).toMatchObject({ PORT: '1111' })
  })

  test('hands what the SDKs of stores read on to them, and nothing else', () => {
    file(
      '.env',
      'AWS_REGION=eu-central-1\nAWS_PROFILE=from-file\nJWT_ACESS_SECRET=x\nNODE_OPTIONS=--inspect\n',
    )

    const env = inFolder(() => {
      process.env.AWS_PROFILE = 'from-environment'
      takeEnvironment()
      return { ...process.env }
    })

    expect(env).toMatchObject({ AWS_REGION: 'eu-central-1', AWS_PROFILE: 'from-environment' })
    expect(env).not.toHaveProperty('JWT_ACESS_SECRET')
    expect(env.NODE_OPTIONS).toBe(process.env.NODE_OPTIONS)
  })

  test('E6 takes secrets out of process.env', () => {
    file('.env', '')
    const names = ['JWT_ACCESS_SECRET', 'JWT_ACCESS_SECRET_PREVIOUS', 'JWT_REFRESH_SECRET', 'DATABASE_URL']

    const [taken, left] = inFolder(() => {
      for (const name of names) process.env[name] = `value of ${name}`
      return [takeEnvironment(), { ...process.env }]
    })

    expect(names.map((name) => taken?.[name])).toEqual(names.map((name) => `value of ${name}`))
    expect(names.filter((name) => name in (left ?? {}))).toEqual([])
  })

  test('does without .env, and reports one that cannot be read', () => {
    rmSync(join(folder, '.env'), { force: true })
    expect(inFolder(() => takeEnvironment().PATH)).toBe(process.env.PATH)

    // A link to itself cannot be read by anybody, root included.
    symlinkSync('.env', join(folder, '.env'))
    expect(() => inFolder(takeEnvironment)).toThrow(
      new ConfigError(['.env: cannot be read (ELOOP). Fix its permissions, or remove it.']),
    )
    rmSync(join(folder, '.env'))
  })
})

test.each([
  ['https://auth.example.com', ['https://auth.example.com']],
  ['http://localhost:3000', ['http://localhost:3000', 'http://127.0.0.1:3000', 'http://[::1]:3000']],
  ['http://127.0.0.1', ['http://localhost', 'http://127.0.0.1', 'http://[::1]']],
])('C3 the own origins of %s are %j', (url, expected) => {
  expect(ownOrigins(url)).toEqual(expected)
})

const ofLocalNetwork = [
  'http://auth.localhost:3000',
  'http://a.b.localhost:3000',
  'http://adas-mac.local:3000',
  'http://127.0.0.2:3000',
  'http://10.1.2.3:3000',
  'http://172.16.0.1:3000',
  'http://172.31.255.255:3000',
  'http://192.168.178.20:3000',
  'http://169.254.1.1:3000',
  'http://[fe80::1]:3000',
  'http://[fd00::1]:3000',
]
const ofElsewhere = [
  'http://192.168.178.20:3001',
  'http://192.168.178.20',
  'https://192.168.178.20:3000',
  'http://172.32.0.1:3000',
  'http://192.169.0.1:3000',
  'http://100.64.0.1:3000',
  'http://203.0.113.1:3000',
  'http://[2001:db8::1]:3000',
  'http://192.168.178.20.example.com:3000',
  'http://localhost.example.com:3000',
  'http://evillocalhost:3000',
  'http://mylocal:3000',
  'http://user@192.168.178.20:3000',
  'http://192.168.178.20:3000/',
  'http://LOCALHOST:3000',
  'null',
  '',
]

test.each(ofLocalNetwork)('only development counts %s as an origin of its own [C3]', (origin) => {
  expect(ownOriginRule('http://localhost:3000', true)(origin)).toBe(true)
  expect(ownOriginRule('http://localhost:3000', false)(origin)).toBe(false)
})

test.each(ofElsewhere)('development does not count %j as an origin of its own [C3]', (origin) => {
  expect(ownOriginRule('http://localhost:3000', true)(origin)).toBe(false)
})

test.each(ofLocalNetwork)('PUBLIC_URL may be %s in development only', async (PUBLIC_URL) => {
  const config = await loadConfig({ ...base, NODE_ENV: 'development', PUBLIC_URL })

  expect(config.http).toMatchObject({ publicUrl: PUBLIC_URL, localNetwork: true, secureCookies: false })
  for (const NODE_ENV of ['production', 'test'])
    expect(await faults({ ...base, NODE_ENV, PUBLIC_URL })).toEqual(['PUBLIC_URL'])
})

test.each(['http://auth.example.com', 'http://100.64.0.1', 'http://localhost.example.com'])(
  'PUBLIC_URL may not be %s, in development neither',
  async (PUBLIC_URL) => {
    expect(await faults({ ...base, NODE_ENV: 'development', PUBLIC_URL })).toEqual(['PUBLIC_URL'])
  },
)
