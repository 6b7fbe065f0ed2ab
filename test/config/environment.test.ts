import { rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { ConfigError } from '../../src/config/config-error.ts'
import { takeEnvironment } from '../../src/config/environment.ts'
import { integer } from '../../src/config/values.ts'
import { type Environment, file, folder } from './loading.ts'

/** Runs `action` with a `.env` of this text and these variables, and restores `process.env`. */
function withDotenv<T>(text: string | Buffer | undefined, set: Environment, action: () => T): T {
  if (text !== undefined) file('.env', text)
  const before = { cwd: process.cwd(), env: { ...process.env } }
  process.chdir(folder)
  Object.assign(process.env, set)
  try {
    return action()
  } finally {
    process.chdir(before.cwd)
    for (const name of Object.keys(process.env)) delete process.env[name]
    Object.assign(process.env, before.env)
  }
}

function problemsOf(text: string | Buffer, set: Environment = {}): readonly string[] {
  try {
    withDotenv(text, set, () => takeEnvironment([{ name: 'notes', settings: { NOTES: integer(1, 2) } }]))
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

describe('the environment', () => {
  test('is completed by .env, and wins over it', () => {
    const env = withDotenv('PORT=1111\nHOST=from-file\n', { PORT: '2222' }, () => takeEnvironment())

    expect(env).toMatchObject({ PORT: '2222', HOST: 'from-file' })
  })

  test('needs no .env', () => {
    rmSync(join(folder, '.env'), { force: true })

    expect(withDotenv(undefined, {}, () => takeEnvironment().PATH)).toBe(process.env.PATH)
  })

  test('gives its secrets away: process.env does not contain them afterwards [E6]', () => {
    const names = ['JWT_ACCESS_SECRET', 'JWT_ACCESS_SECRET_PREVIOUS', 'JWT_REFRESH_SECRET', 'DATABASE_URL']
    const set = Object.fromEntries(names.map((name) => [name, `value of ${name}`]))

    const [taken, left] = withDotenv('', set, () => [takeEnvironment(), { ...process.env }])

    expect(taken).toMatchObject(set)
    expect(names.filter((name) => name in (left ?? {}))).toEqual([])
  })

  test('passes variables of SDKs from .env on to process.env, and no others', () => {
    const text =
      'AWS_REGION=eu-central-1\nAWS_PROFILE=from-file\nJWT_ACESS_SECRET=x\nNODE_OPTIONS=--inspect\n'

    const env = withDotenv(text, { AWS_PROFILE: 'from-environment' }, () => {
      takeEnvironment()
      return { ...process.env }
    })

    expect(env).toMatchObject({ AWS_REGION: 'eu-central-1', AWS_PROFILE: 'from-environment' })
    expect(env).not.toHaveProperty('JWT_ACESS_SECRET')
    expect(env.NODE_OPTIONS).toBe(process.env.NODE_OPTIONS)
  })
})

describe('an unquoted # in .env', () => {
  test.each([
    ['a reference', 'JWT_ACCESS_SECRET=ref+vault://secret/auth#/ACCESS', 'JWT_ACCESS_SECRET'],
    ['an exported one', 'export JWT_REFRESH_SECRET = ref+awssecrets://a#/KEY # why', 'JWT_REFRESH_SECRET'],
    ['a password in a URL', 'DATABASE_URL=postgres://auth:pa#ss@db/auth', 'DATABASE_URL'],
    ['a path', 'JWT_ACCESS_SECRET_FILE=/run/secrets/a#b', 'JWT_ACCESS_SECRET_FILE'],
    ['a value that begins with it', 'VAULT_TOKEN=#token', 'VAULT_TOKEN'],
    ['a value after a colon', 'VAULT_SECRET_ID: to#ken', 'VAULT_SECRET_ID'],
    ['a credential of an SDK', 'AZURE_CLIENT_SECRET=a~b#c', 'AZURE_CLIENT_SECRET'],
    ['a setting of a feature', 'NOTES=1#', 'NOTES'],
  ])('is refused in %s', (_where, line, name) => {
    expect(problemsOf(`A=1\n${line}\n`)).toEqual([
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
  ])('is accepted as a comment, in quotes, and in unknown variables: %s', (line) => {
    expect(problemsOf(`${line}\r\n`)).toEqual([])
  })

  test('is reported for every value at once, but not for values that the environment sets', () => {
    const problems = problemsOf('\ufeffPORT=3000#\nHOST=a#b\nDATABASE_URL=postgres://a:#@b\n', { HOST: 'a' })

    expect(problems.map((problem) => problem.split(':')[0])).toEqual(['PORT', 'DATABASE_URL'])
  })
})

describe('.env', () => {
  test.each([
    ['a name alone', 'PORT\nHOST=a\n', [1]],
    ['a secret alone, after a quoted value of several lines', 'A="1\n2 = 3\n"\nab+cd\n', [4]],
    ['lines of npm', '\n> auth@1.0.0 secrets\n> tsx cli.ts\n\nPORT=1\n', [2, 3]],
    ['an exported name', "A='1'\r\nexport HOST\r\n", [2]],
  ])('must not contain lines without =: %s', (_what, text, lines) => {
    expect(problemsOf(text)).toEqual(
      lines.map((line) => `.env: line ${line} has no =. Write NAME=value, or begin the line with #.`),
    )
  })

  test.each([
    ['comments and empty lines', '# a\n\n \t\n  # b\nA=1\n'],
    ['values of several lines', 'A="-----BEGIN\nabc\n-----END" # why\nB=\'x\ny\'\nC=`x\n\ny`\n'],
    ['colons, spaces and export', 'A: 1\nB = 2\nexport C=3\nD-e.f=\n  G=1\n'],
    ['a quote that is not closed', 'A="1\nB=2\n'],
  ])('may contain %s', (_what, text) => {
    expect(problemsOf(text)).toEqual([])
  })

  test.each([
    ['UTF-16 with a BOM', Buffer.from('\ufeffPORT=1\n', 'utf16le'), 'UTF-16'],
    ['UTF-16 without a BOM', Buffer.from('PORT=1\n', 'utf16le'), 'UTF-16'],
    ['big-endian UTF-16', Buffer.from('\ufeffPORT=1\n', 'utf16le').swap16(), 'UTF-16'],
    ['Latin-1', Buffer.from('HOST=b\u00fcro\n', 'latin1'), 'not UTF-8'],
  ])('must not be %s', (_encoding, bytes, kind) => {
    expect(problemsOf(bytes)).toEqual([`.env: is ${kind}. Save it as UTF-8.`])
  })

  test('may be UTF-8 with a BOM', () => {
    expect(withDotenv('\ufeffPORT=1111\n', {}, () => takeEnvironment())).toMatchObject({ PORT: '1111' })
  })

  test('must be readable', () => {
    // Nobody can read a link to itself, not even root.
    rmSync(join(folder, '.env'), { force: true })
    symlinkSync('.env', join(folder, '.env'))

    expect(() => withDotenv(undefined, {}, () => takeEnvironment())).toThrow(
      new ConfigError(['.env: cannot be read (ELOOP). Fix its permissions, or remove it.']),
    )
    rmSync(join(folder, '.env'))
  })
})
