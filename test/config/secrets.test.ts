import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { loadConfig } from '../../src/config/config.ts'
import { newSecret } from '../../src/secrets/cli/generate.ts'
import { base, type Environment, faultsOf, file, folder, problemsOf } from './loading.ts'

const loaded = async (env: Environment) => (await loadConfig({ ...base, ...env })).secrets.load()

describe('secrets', () => {
  test.each(['JWT_ACCESS_SECRET', 'JWT_REFRESH_SECRET'])('%s is required [E1]', async (name) => {
    for (const nothing of [undefined, ''])
      expect(await faultsOf({ ...base, [name]: nothing })).toEqual([name])
  })

  test.each([
    ['JWT_REFRESH_SECRET', 'JWT_ACCESS_SECRET'],
    ['JWT_ACCESS_SECRET_PREVIOUS', 'JWT_ACCESS_SECRET'],
    ['JWT_REFRESH_SECRET_PREVIOUS', 'JWT_REFRESH_SECRET'],
    ['JWT_REFRESH_SECRET_PREVIOUS', 'JWT_ACCESS_SECRET'],
  ] as const)('%s must differ from %s [E1]', async (name, other) => {
    const problems = await problemsOf({ ...base, [name]: base[other] })

    expect(problems).toEqual([expect.stringMatching(/is the same as/)])
    expect(problems[0]).toContain(name)
    expect(problems[0]).toContain(other)
  })

  test('the two previous secrets must differ, and both must keep the policy [E1]', async () => {
    const same = newSecret()
    const twice = { JWT_ACCESS_SECRET_PREVIOUS: same, JWT_REFRESH_SECRET_PREVIOUS: same }

    expect(await faultsOf({ ...base, ...twice })).toEqual(['JWT_REFRESH_SECRET_PREVIOUS'])
    expect(await faultsOf({ ...base, JWT_ACCESS_SECRET_PREVIOUS: 'short' })).toEqual([
      'JWT_ACCESS_SECRET_PREVIOUS',
    ])
  })
})

describe('files', () => {
  test('NAME_FILE gives every secret, and the URL of the database [E2]', async () => {
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
    'SMTP_URL',
  ])('%s and its _FILE must not both be set, even to the same value [E2]', async (name) => {
    const values: Record<string, string> = {
      DATABASE_URL: 'postgres://db/auth',
      SMTP_URL: 'smtps://smtp.example.com',
    }
    const value = values[name] ?? newSecret()
    const env = { ...base, MAIL_FROM: 'auth@example.com' }

    expect(await problemsOf({ ...env, [name]: value, [`${name}_FILE`]: file(name, value) })).toEqual([
      `${name}: ${name}_FILE is set too, in the environment or in .env. Keep one of the two.`,
    ])
  })

  test.each([
    ['relative/path', 'absolute'],
    [join(folder, 'nowhere'), 'missing'],
    [folder, 'regular file'],
  ])('DATABASE_URL_FILE=%s is a problem of DATABASE_URL: %s [E2]', async (path, word) => {
    expect(await problemsOf({ ...base, DATABASE_URL_FILE: path })).toEqual([
      expect.stringMatching(new RegExp(`^DATABASE_URL: .*${word}`)),
    ])
  })

  test('the server warns of files that every user can write, by their settings, and uses them [E2]', async () => {
    const url = file('open-url', 'postgres://u:p@db/auth')
    const secretId = file('secret-id', 'x')
    chmodSync(url, 0o666)
    chmodSync(secretId, 0o602)

    const { fileWarnings } = await loadConfig({
      ...base,
      DATABASE_URL_FILE: url,
      VAULT_SECRET_ID_FILE: secretId,
      VAULT_TOKEN_FILE: file('token', 'x'),
    })

    const warning = 'Every user can write the file. Run chmod o-w on it.'
    expect(fileWarnings).toEqual([`DATABASE_URL: ${warning}`, `VAULT_SECRET_ID: ${warning}`])
  })

  test.each([
    ['npm wrote its banner into it', (secret: string) => `> a@1 secrets\n\n${secret}\n`],
    ['it is in quotes', (secret: string) => `"${secret}"\n`],
    ['it begins with a BOM', (secret: string) => `\ufeff${secret}`],
    ['two newlines end it', (secret: string) => `${secret}\n\n`],
  ])('a secret in a file is refused if %s [E1]', async (_what, wrap) => {
    expect(
      await problemsOf({
        ...base,
        JWT_REFRESH_SECRET: undefined,
        JWT_REFRESH_SECRET_FILE: file('wrapped', wrap(newSecret())),
      }),
    ).toEqual([
      expect.stringMatching(
        /^JWT_REFRESH_SECRET: (contains a line break|begins or ends with white space, a BOM)/,
      ),
    ])
  })
})

describe('the previous secret, in a file beside the current one', () => {
  const withFile = (name: string, content: string) => ({
    JWT_REFRESH_SECRET: undefined,
    JWT_REFRESH_SECRET_FILE: file(name, content),
  })

  test.each([
    ['NAME_FILE', (path: string) => ({ JWT_REFRESH_SECRET: undefined, JWT_REFRESH_SECRET_FILE: path })],
    ['a reference', (path: string) => ({ JWT_REFRESH_SECRET: `ref+file://${path}` })],
  ])('is read without a setting, with %s [E2]', async (_how, env) => {
    const [current, previous] = [newSecret(), newSecret()]
    const path = file('rotated', `${current}\n`)
    file('rotated.previous', `${previous}\n`)

    expect(await loaded(env(path))).toMatchObject({
      problems: [],
      versions: {
        JWT_REFRESH_SECRET: [{ value: current }],
        JWT_REFRESH_SECRET_PREVIOUS: [{ value: previous, source: `ref+file://${path}.previous` }],
      },
    })
  })

  test('may be missing, and is read at the next load if it comes later [E2]', async () => {
    const { secrets } = await loadConfig({ ...base, ...withFile('alone', newSecret()) })
    const before = await secrets.load()
    const previous = newSecret()
    file('alone.previous', previous)

    const after = await secrets.load()

    expect(before).toMatchObject({ problems: [], versions: { JWT_REFRESH_SECRET_PREVIOUS: [] } })
    expect(after.versions).toMatchObject({ JWT_REFRESH_SECRET_PREVIOUS: [{ value: previous }] })
  })

  test('counts as unset if _PREVIOUS_FILE names a file that is not there yet [E2]', async () => {
    expect(await loaded({ JWT_REFRESH_SECRET_PREVIOUS_FILE: join(folder, 'not-yet') })).toMatchObject({
      problems: [],
      versions: { JWT_REFRESH_SECRET_PREVIOUS: [] },
    })
  })

  test('is not read if there is a setting for it [E2]', async () => {
    const previous = newSecret()
    file('both.previous', newSecret())
    const setting = { JWT_REFRESH_SECRET_PREVIOUS_FILE: file('elsewhere', previous) }

    const { versions } = await loaded({ ...withFile('both', newSecret()), ...setting })

    expect(versions.JWT_REFRESH_SECRET_PREVIOUS).toMatchObject([{ value: previous }])
  })

  test('is not used if it equals the current one, as a rotation that was cut off leaves it [E2]', async () => {
    const secret = newSecret()
    file('cut.previous', secret)

    expect(await loaded(withFile('cut', secret))).toMatchObject({
      problems: [],
      versions: { JWT_REFRESH_SECRET: [{ value: secret }], JWT_REFRESH_SECRET_PREVIOUS: [] },
    })
  })

  test('is refused if it breaks the policy [E1]', async () => {
    file('weak.previous', 'short')

    expect(await faultsOf({ ...base, ...withFile('weak', newSecret()) })).toEqual([
      'JWT_REFRESH_SECRET_PREVIOUS',
    ])
  })
})
