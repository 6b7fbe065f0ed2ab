import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { describe, expect, test } from '@jest/globals'
import { loadConfig, loadDatabaseConfig, readSettings } from '../../src/config/config.ts'
import { newSecret } from '../../src/secrets/cli/generate.ts'
import { base, type Environment, errorOf, file, folder } from './loading.ts'

describe('the error of an invalid configuration', () => {
  test('has all problems at once, one a line', async () => {
    const error = await errorOf({
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

    const names = error?.problems.map((problem) => /^([A-Z_]+): \S.*$/.exec(problem)?.[1])
    expect(names?.sort()).toEqual(
      `BCRYPT_COST CORS_ORIGINS DATABASE_URL JWT_ACCESS_SECRET JWT_REFRESH_SECRET JWT_REFRESH_SECRET_PREVIOUS
       LOG_LEVEL NODE_ENV PORT PUBLIC_URL TRUST_PROXY`.split(/\s+/),
    )
    expect(error?.message.split('\n')).toEqual(error?.problems)
  })

  // The middle of the canary occurs in no message. The rest is random.
  const part = (bytes: number) => randomBytes(bytes).toString('base64url')
  const value = `${part(6)}QzK7canaryWv5${part(12)}`
  const asFile = (name: string, content: string | Buffer) => ({
    JWT_ACCESS_SECRET: undefined,
    JWT_ACCESS_SECRET_FILE: file(name, content),
  })
  test.each<[what: string, env: Environment]>([
    ['a short secret', { JWT_ACCESS_SECRET: value.slice(0, 31) }],
    ['a repeated secret', { JWT_ACCESS_SECRET: value.repeat(9).slice(0, 200), JWT_REFRESH_SECRET: value }],
    ['a secret used twice', { JWT_ACCESS_SECRET: value + value, JWT_REFRESH_SECRET: value + value }],
    ['a placeholder', { JWT_ACCESS_SECRET: `<${value}>` }],
    ['a PEM key', { JWT_ACCESS_SECRET: `-----BEGIN PRIVATE KEY-----\n${value}` }],
    ['a reference of an unknown scheme', { JWT_ACCESS_SECRET: `ref+${value}://${value}` }],
    ['a malformed reference', { JWT_REFRESH_SECRET: `ref+${value}` }],
    ['a secret instead of its path', { JWT_ACCESS_SECRET: undefined, JWT_ACCESS_SECRET_FILE: value }],
    ['a secret and its file', { JWT_REFRESH_SECRET_FILE: file('canary', value) }],
    ['a short secret in a file', asFile('short', value.slice(0, 31))],
    [
      'a secret in a file that is not UTF-8',
      asFile('binary', Buffer.concat([Buffer.from(value), Buffer.from([0xff])])),
    ],
    ['a URL of another database', { DATABASE_URL: `mysql://user:${value}@db/auth` }],
    ['text that is not a URL', { DATABASE_URL: `//user:${value}@db/auth` }],
    ['a URL in a file', { DATABASE_URL_FILE: file('url', value) }],
  ])('shows nothing of %s [E6]', async (_what, env) => {
    const error = await errorOf({ ...base, ...env })

    const shown = [inspect(error, { depth: 9, showHidden: true }), error?.stack, JSON.stringify(error)].join()
    const pieces = Array.from({ length: value.length - 5 }, (_, at) => value.slice(at, at + 6))
    expect(error).toBeDefined()
    expect(pieces.filter((piece) => shown.includes(piece))).toEqual([])
  })
})

describe('a configuration', () => {
  test('is frozen, with every object in it', async () => {
    const config = await loadConfig({ ...base, CORS_ORIGINS: 'https://a.example', TRUST_PROXY: '10.0.0.1' })

    const objectsIn = (value: object): object[] => [
      value,
      ...Object.values(value).flatMap((member) =>
        typeof member === 'object' && member !== null ? objectsIn(member) : [],
      ),
    ]
    expect(objectsIn(config).length).toBeGreaterThan(8)
    expect(objectsIn(config).filter((member) => !Object.isFrozen(member))).toEqual([])
    expect(() => Object.assign(config.http, { secureCookies: false })).toThrow(TypeError)
  })

  test('shows no secret when it is inspected or printed [E6]', async () => {
    const config = await loadConfig({
      ...base,
      JWT_ACCESS_SECRET_PREVIOUS: newSecret(),
      DATABASE_URL: 'postgres://auth:canary@db/auth',
    })

    const shown = inspect(config, { depth: 9, showHidden: true }) + JSON.stringify(config)

    expect(shown).toContain(base.PUBLIC_URL)
    for (const secret of [base.JWT_ACCESS_SECRET, base.JWT_REFRESH_SECRET, 'canary'])
      expect(shown).not.toContain(secret)
  })
})

describe('a store that is unavailable', () => {
  /** Loads with a store that is unavailable. Returns the error, and for how long it was waited. */
  async function load(env: Environment) {
    let now = 0
    const fault = 'unreachable'
    const problem = { name: 'JWT_ACCESS_SECRET', kind: fault, fault, message: 'Its store is down.' } as const
    const secrets = { load: async () => ({ versions: {}, problems: [problem] }) }
    const error = await loadConfig(env, {
      settings: { ...readSettings(env), secrets },
      clock: () => now,
      delay: async (ms) => {
        now += ms
      },
    }).catch((error: Error) => error)
    return { error, waitedMs: now }
  }

  test('is tried again for 15 s. Then the error does not blame the settings', async () => {
    const { error, waitedMs } = await load(base)

    expect(error).toMatchObject({ name: 'Error', message: 'JWT_ACCESS_SECRET: Its store is down.' })
    expect(waitedMs).toBe(15_000)
  })

  test('is tried once if a setting is wrong', async () => {
    const { error, waitedMs } = await load({ ...base, LOG_LEVEL: 'x' })

    expect(error).toMatchObject({
      name: 'ConfigError',
      problems: [expect.stringMatching(/^LOG_LEVEL: /), 'JWT_ACCESS_SECRET: Its store is down.'],
    })
    expect(waitedMs).toBe(0)
  })
})

describe('migrating', () => {
  const DATABASE_URL = 'postgres://db/auth'

  test('needs DATABASE_URL and AUDIT_DAYS, and no other setting', async () => {
    expect(await loadDatabaseConfig({ DATABASE_URL, AUDIT_DAYS: '7', PORT: 'x' })).toEqual({
      url: DATABASE_URL,
      auditDays: 7,
    })
  })

  test.each([
    [{ DATABASE_URL, AUDIT_DAYS: '0' }, /^AUDIT_DAYS: must be a whole number from 1 to 3650/],
    [{ DATABASE_URL: 'mysql://db' }, /^DATABASE_URL: must be a URL, postgres:/],
    [{ NODE_ENV: 'test' }, /^DATABASE_URL: is required\. Set it to the URL of the PostgreSQL database/],
  ])('refuses %j with one line', async (env, line) => {
    await expect(loadDatabaseConfig(env)).rejects.toMatchObject({ problems: [expect.stringMatching(line)] })
  })
})
