import { describe, expect, test } from '@jest/globals'
import { type Config, loadConfig } from '../../src/config/config.ts'
import { settings } from '../../src/config/settings.ts'
import { base, type Environment, faultsOf, problemsOf } from './loading.ts'

const words = (text: string) => text.match(/\S+/g) ?? []

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
    keys: { reloadSeconds: 60, maxStaleSeconds: 86400 },
    accessTokenSeconds: 900,
    sessions: { idleSeconds: 604800, absoluteSeconds: 2592000, graceSeconds: 10, perUser: 20 },
    limits: {
      loginAccount: { attempts: 10, seconds: 900 },
      loginAddress: { attempts: 100, seconds: 900 },
      registerAddress: { attempts: 20, seconds: 3600 },
      mailAddress: { attempts: 20, seconds: 3600 },
      mailRecipient: { attempts: 3, seconds: 3600 },
    },
    auditDays: 90,
    passwords: { cost: 12, minLength: 15 },
    logLevel: 'info',
  }

  test('are those of production', async () => {
    expect(await loadConfig(base)).toMatchObject(expected)
  })

  test('apply to every setting that is empty', async () => {
    const empty = Object.fromEntries(Object.keys(settings.shape).map((name) => [name, '']))

    expect(await loadConfig({ ...empty, ...base })).toMatchObject(expected)
  })

  test('leave PUBLIC_URL out, and cookies insecure, in development', async () => {
    const { http } = await loadConfig({ ...base, PUBLIC_URL: '', NODE_ENV: 'development' })

    expect(http).toMatchObject({ publicUrl: undefined, secureCookies: false })
  })

  test('apply although Object.prototype has members', async () => {
    const env: Environment = JSON.parse('{"__proto__":{"PORT":"1"},"constructor":"x","toString":"y"}')

    expect((await loadConfig({ ...env, ...base })).http.port).toBe(3000)
  })
})

describe('numbers', () => {
  const numbers: [name: string, min: number, max: number, read: (config: Config) => number | undefined][] = [
    ['PORT', 0, 65535, ({ http }) => http.port],
    ['METRICS_PORT', 0, 65535, ({ http }) => http.metricsPort],
    ['SECRETS_REFRESH_SECONDS', 1, 86400, ({ keys }) => keys.reloadSeconds],
    ['SECRETS_MAX_STALE_SECONDS', 0, 2592000, ({ keys }) => keys.maxStaleSeconds],
    ['ACCESS_TOKEN_SECONDS', 1, 3600, ({ accessTokenSeconds }) => accessTokenSeconds],
    ['SESSION_IDLE_SECONDS', 1, 31536000, ({ sessions }) => sessions.idleSeconds],
    ['SESSION_ABSOLUTE_SECONDS', 1, 31536000, ({ sessions }) => sessions.absoluteSeconds],
    ['SESSIONS_PER_USER', 1, 1000, ({ sessions }) => sessions.perUser],
    ['REFRESH_GRACE_SECONDS', 0, 60, ({ sessions }) => sessions.graceSeconds],
    ['FRESH_SECONDS', 60, 3600, ({ freshSeconds }) => freshSeconds],
    ['BCRYPT_COST', 10, 16, ({ passwords }) => passwords.cost],
    ['PASSWORD_MIN_LENGTH', 8, 64, ({ passwords }) => passwords.minLength],
    ['AUDIT_DAYS', 1, 3650, ({ auditDays }) => auditDays],
  ]
  // Lifetimes of a session that allow every value of the other one.
  const others: Record<string, Environment> = {
    SESSION_IDLE_SECONDS: { SESSION_ABSOLUTE_SECONDS: '31536000' },
    SESSION_ABSOLUTE_SECONDS: { SESSION_IDLE_SECONDS: '1' },
  }
  const withValue = (name: string, value: string | number) => ({
    ...base,
    ...others[name],
    [name]: String(value),
  })

  test.each(numbers)('%s may be %d, %d and everything between', async (name, min, max, read) => {
    for (const value of [min, max]) expect(read(await loadConfig(withValue(name, value)))).toBe(value)
  })

  test.each(numbers)('%s must not be below %d or above %d', async (name, min, max) => {
    for (const value of [min - 1, max + 1]) expect(await faultsOf(withValue(name, value))).toEqual([name])
  })

  const notDigits = [' 12', '12 ', '12\n', ...words('1e3 +12 -12 0x10 12.0 1_2 １２ Infinity NaN')]
  test.each(numbers)('%s must be decimal digits', async (name) => {
    for (const value of [...notDigits, '9'.repeat(400)])
      expect(await faultsOf(withValue(name, value))).toEqual([name])
  })
})

describe('texts', () => {
  test.each<[name: string, values: string[], read: (config: Config) => unknown]>([
    ['HOST', ['0.0.0.0', '::', 'auth-1.internal'], ({ http }) => http.host],
    [
      'PUBLIC_URL',
      words('https://auth.example.com:8443 http://localhost:3000 http://127.0.0.1 http://[::1]:8080'),
      ({ http }) => http.publicUrl,
    ],
    ['JWT_AUDIENCE', ['urn:api'], ({ http }) => http.audience],
    ['DATA_DIR', ['memory://'], ({ database }) => database.folder],
    ['DATABASE_URL', words('postgres://u:p@db/auth postgresql://db:5433/auth'), (all) => all.database.url()],
    ['LOG_LEVEL', words('fatal error warn info debug trace silent'), ({ logLevel }) => logLevel],
  ])('%s may be each of %j', async (name, values, read) => {
    for (const value of values) expect(read(await loadConfig({ ...base, [name]: value }))).toBe(value)
  })

  const ranges = '10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10'
  test.each<[name: string, value: string, expected: object]>([
    ['PUBLIC_URL', 'https://auth.example.com/', { http: { publicUrl: 'https://auth.example.com' } }],
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
    ['TRUST_PROXY', ranges, { http: { trustProxy: ranges.split(',') } }],
    ['TRUST_PROXY', 'fc00::/7,fe80::/10', { http: { trustProxy: ['fc00::/7', 'fe80::/10'] } }],
    ['TRUST_PROXY', '::ffff:10.0.0.0/104', { http: { trustProxy: ['::ffff:10.0.0.0/104'] } }],
    ['TRUST_PROXY', '1.2.3.4/32,::1/128', { http: { trustProxy: ['1.2.3.4/32', '::1/128'] } }],
    ['TRUST_PROXY', '0.0.0.0/2,2000::/5', { http: { trustProxy: ['0.0.0.0/2', '2000::/5'] } }],
    ['LIMIT_LOGIN_ACCOUNT', '1/1', { limits: { loginAccount: { attempts: 1, seconds: 1 } } }],
    ['LIMIT_LOGIN_ADDRESS', 'off', { limits: { loginAddress: undefined } }],
    [
      'LIMIT_REGISTER_ADDRESS',
      '1000000/86400',
      { limits: { registerAddress: { attempts: 1e6, seconds: 86400 } } },
    ],
  ])('%s=%s is parsed', async (name, value, expected) => {
    expect(await loadConfig({ ...base, [name]: value })).toMatchObject(expected)
  })

  const wrongLimits =
    '0 10 0/900 10/0 1000001/900 10/86401 -1/900 1.5/900 10/900/1 /900 10/ 1e1/900 0x1/900 OFF'
  test.each<[name: string, values: string, withBlanks: string[]]>([
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
    ['COOKIE_SECURE', 'TRUE 1 yes auto', [' true']],
    ['HSTS_INCLUDE_SUBDOMAINS', 'TRUE 1 yes auto', [' true']],
    [
      'TRUST_PROXY',
      `0 11 -1 1e0 true false * 0.0.0.0/0 ::/0 10.0.0.1,0.0.0.0/0 10.0.0.0/33 fd00::/129 10.0.0.0/ 10.0.0.0/8/8
       10.0.0.0/255.0.0.0 10.0.0 10.0.0.1, proxy.internal loopback linklocal uniquelocal`,
      ['loopback, 10.0.0.1', 'fe80::1%eth0'],
    ],
    ['DATABASE_URL', 'auth mysql://db/auth https://db/auth ref+nowhere://db', []],
    ['JWT_ALGORITHM', 'none hs256 HS512 HS256,RS256', []],
    ['LIMIT_LOGIN_ACCOUNT', wrongLimits, ['10 / 900', ' off']],
    ['LIMIT_LOGIN_ADDRESS', wrongLimits, ['10 / 900', ' off']],
    ['LIMIT_REGISTER_ADDRESS', wrongLimits, ['10 / 900', ' off']],
    ['LIMIT_MAIL_RECIPIENT', wrongLimits, ['10 / 900', ' off']],
    ['LIMIT_MAIL_ADDRESS', wrongLimits, ['10 / 900', ' off']],
    ['LOG_LEVEL', 'INFO verbose', ['info ']],
  ])('%s refuses invalid values, in one line each', async (name, values, withBlanks) => {
    for (const value of [...words(values), ...withBlanks])
      expect([value, await faultsOf({ ...base, [name]: value })]).toEqual([value, [name]])
  })

  test.each([
    '0.0.0.0/1,128.0.0.0/1',
    '128.0.0.0/1, 0.0.0.0/1',
    '0.0.0.0/2,64.0.0.0/2,128.0.0.0/2,192.0.0.0/2',
    '10.0.0.0/8,0.0.0.0/1,64.0.0.0/2',
    '1.0.0.0/8,2.0.0.0/7,4.0.0.0/6,8.0.0.0/5,16.0.0.0/4,32.0.0.0/3,64.0.0.0/2,128.0.0.0/2,192.0.0.0/3',
    '0.0.0.0/1',
    '2000::/4',
    '::/1,8000::/1',
    '2000::/3',
    '2000::/4,3000::/4',
    '::ffff:0:0/96',
    '::/8',
    '::ffff:0.0.0.0/97,128.0.0.0/1',
  ])('TRUST_PROXY must not cover half of all IPv4 or IPv6 addresses: %s [D5]', async (TRUST_PROXY) => {
    expect(await problemsOf({ ...base, TRUST_PROXY })).toEqual([
      expect.stringMatching(/^TRUST_PROXY: must cover less than half of all IP addresses\./),
    ])
  })

  test.each([
    ['https://auth.example.com/auth', /without a path\. Remove the path\.$/],
    ['https://auth.example.com/?a', /without a path\. Remove the path\.$/],
    ['auth.example.com', /in lower case and without a path\.$/],
    ['https://*.example.com/', /in lower case and without a path\.$/],
  ])('the message about PUBLIC_URL=%s says what to change', async (PUBLIC_URL, end) => {
    const problems = await problemsOf({ ...base, PUBLIC_URL })

    expect(problems).toEqual([expect.stringMatching(/^PUBLIC_URL: must be an origin, scheme:/)])
    expect(problems[0]).toMatch(end)
  })
})
