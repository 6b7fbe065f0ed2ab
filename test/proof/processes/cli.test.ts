import { execFile, spawn } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { parse } from 'dotenv'
import PQueue from 'p-queue'
import { loadConfig } from '../../../src/config/config.ts'
import { newPrivateKey, newSecret } from '../../../src/secrets/cli/generate.ts'
import type { KeysReport } from '../../../src/secrets/live-keys.ts'
import { send, startServer } from '../../support/server.ts'

const root = mkdtempSync(join(tmpdir(), 'cli-'))
afterAll(() => rmSync(root, { recursive: true }))
const newFolder = () => mkdtempSync(join(root, 'case-'))

type Settings = Record<string, string>

interface Result {
  code: number | null
  stdout: string
  stderr: string
  seconds: number
}

const program = resolve('dist/secrets/cli/cli.js')
const queue = new PQueue({ concurrency: 3 })

/** Runs the command in an empty folder, with only `settings` in its environment. */
const secrets = (...command: Parameters<typeof run>) => queue.add(() => run(...command))

async function run(args: string, settings: Settings = {}, cwd = newFolder()): Promise<Result> {
  const startedAt = performance.now()
  const child = spawn(process.execPath, [program, ...args.split(' ').filter(Boolean)], {
    cwd,
    env: { PATH: process.env.PATH ?? '', TMPDIR: root, ...settings },
  })
  const result = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => {
    result.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    result.stderr += text
  })
  const [code] = await once(child, 'close')
  return { code, ...result, seconds: (performance.now() - startedAt) / 1000 }
}

/** Returns the id of the key that signed a token. */
const kidIn = (token = '') => JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).kid

/** Returns when a file was changed last, as the table prints it. */
const changeOf = (path: string) => statSync(path).mtime.toISOString().slice(0, 19)

/** Returns the cells of a printed table. */
const cellsOf = (table: string) =>
  table
    .trim()
    .split('\n')
    .map((line) => line.split(/ {2,}/))

const good = (): Settings => ({
  PUBLIC_URL: 'https://auth.example.com',
  DATA_DIR: 'memory://',
  JWT_ACCESS_SECRET: newSecret(),
  JWT_REFRESH_SECRET: newSecret(),
})

/** Runs all commands at the start, because each takes about a second. Returns their results. */
function ran<Name extends string>(start: () => Record<Name, Promise<Result>>): Record<Name, Result> {
  const results = {} as Record<Name, Result>
  beforeAll(async () => {
    for (const [name, running] of Object.entries(start()))
      results[name as Name] = await (running as Promise<Result>)
  })
  return results
}

/** Expects that the command wrote only `problem`, in one line. */
function expectRefusal(result: Result, code: number, problem: RegExp) {
  expect(result).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(problem) })
  expect(result.stderr.trim().split('\n')).toHaveLength(1)
}

describe('usage', () => {
  const results = ran(() => ({
    help: secrets('--help'),
    helpOfCommand: secrets('rotate --help'),
    none: secrets(''),
    unknown: secrets('constructor'),
    option: secrets('check --nonsense'),
    bytes: secrets('generate --bytes 16'),
    age: secrets('check --max-age 90'),
    ageOfNothing: secrets('check --max-age 0d'),
    format: secrets('generate --format base32'),
    algorithm: secrets('generate --algorithm HS256'),
    variable: secrets('rotate DATABASE_URL'),
    port: secrets('keys'),
  }))

  test('help names every command and every exit code, and exits with 0', () => {
    const { help, helpOfCommand } = results
    expect(help).toMatchObject({ code: 0, stderr: '' })
    for (const word of ['generate', 'check', 'rotate VARIABLE', 'keys', '0 done', '64', '78', '1 any other'])
      expect(help.stdout).toContain(word)
    expect(helpOfCommand).toMatchObject({ code: 0, stdout: help.stdout })
  })

  test('without a command prints help, and exits with 64', () => {
    expect(results.none).toMatchObject({ code: 64, stdout: results.help.stdout })
  })

  test.each([
    ['unknown', /^Unknown command\. Use generate, check, rotate, keys, or --help\./],
    ['option', /--nonsense.*Try --help\./],
    ['bytes', /^--bytes must be 32, 48 or 64/],
    ['age', /^--max-age must be like 90d/],
    ['ageOfNothing', /^--max-age must be like 90d/],
    ['format', /^--format must be base64url or hex/],
    ['algorithm', /^--algorithm must be RS256 or ES256/],
    [
      'variable',
      /^rotate needs the name of one secret: JWT_ACCESS_SECRET, JWT_ACCESS_PRIVATE_KEY, JWT_REFRESH_SECRET/,
    ],
    ['port', /^METRICS_PORT is not set\. Set it .*, or use --url\./],
  ] as const)('a wrong %s is a usage error that says what is right', (name, problem) => {
    expectRefusal(results[name], 64, problem)
  })
})

describe('generate', () => {
  const folder = newFolder()
  const inFolder = (name: string) => join(folder, name)
  const results = ran(() => {
    writeFileSync(inFolder('there'), 'mine')
    return {
      plain: secrets('generate'),
      again: secrets('generate'),
      short: secrets('generate --bytes 32'),
      long: secrets('generate --bytes 64'),
      hex: secrets('generate --format hex'),
      longHex: secrets('generate --bytes 64 --format hex'),
      RS256: secrets('generate --algorithm RS256'),
      ES256: secrets('generate --algorithm ES256'),
      env: secrets('generate --env'),
      envES256: secrets('generate --env --algorithm ES256'),
      file: secrets('generate --env --out new', {}, folder),
      there: secrets('generate --out there', {}, folder),
      nowhere: secrets('generate --out none/new', {}, folder),
    }
  })

  test.each([
    ['plain', 'base64url', 48],
    ['short', 'base64url', 32],
    ['long', 'base64url', 64],
    ['hex', 'hex', 48],
    ['longHex', 'hex', 64],
  ] as const)('%s: a secret in %s, of %i bytes', (name, format, bytes) => {
    const { code, stdout, stderr } = results[name]
    const decoded = Buffer.from(stdout.trim(), format)

    expect({ code, stderr, bytes: decoded.length }).toEqual({ code: 0, stderr: '', bytes })
    expect(`${decoded.toString(format)}\n`).toBe(stdout)
  })

  test('makes secrets as long as those of rotate and npm run dev', () => {
    expect(results.plain.stdout.trim()).toHaveLength(newSecret().length)
  })

  describe('under plain npm run, which writes lines of its own', () => {
    const npm = (args: string) =>
      new Promise<Result>((resolve) => {
        const command = `npm run secrets -- ${args}`
        execFile('sh', ['-c', command], { env: { PATH: process.env.PATH } }, (error, stdout, stderr) =>
          resolve({ code: error ? Number(error.code) : 0, stdout, stderr, seconds: 0 }),
        )
      })

    test('prints the secret in the last line, and says how to get the secret alone', async () => {
      const { code, stdout, stderr } = await npm('generate')

      expect(code).toBe(0)
      expect(stdout.trim().split('\n').at(-1)).toMatch(/^[\w-]{64}$/)
      expect(stderr).toContain('run: npm run -s secrets -- generate')
    })

    test('prints lines that .env accepts unchanged', async () => {
      const { stdout, stderr } = await npm('generate --env')

      const { JWT_ACCESS_SECRET, JWT_REFRESH_SECRET, ...others } = parse(stdout)
      expect([JWT_ACCESS_SECRET, JWT_REFRESH_SECRET].map((text) => /^[\w-]{64}$/.test(text ?? ''))).toEqual([
        true,
        true,
      ])
      expect(others).toEqual({})
      expect(stderr).toBe('')
    })
  })

  test('prints another secret each time', () => {
    expect(results.again.stdout).not.toBe(results.plain.stdout)
  })

  test('prints private keys that obey the policy', () => {
    const [rsa, ec] = [results.RS256, results.ES256].map(({ stdout }) => createPrivateKey(stdout))

    expect(rsa?.asymmetricKeyDetails?.modulusLength).toBeGreaterThanOrEqual(2048)
    expect(ec?.asymmetricKeyDetails?.namedCurve).toBe('prime256v1')
  })

  test.each(['env', 'envES256'] as const)(
    'prints lines for .env with which a server can start: %s',
    async (name) => {
      const settings = parse(results[name].stdout)

      const config = await loadConfig({
        PUBLIC_URL: 'https://auth.example.com',
        DATA_DIR: 'memory://',
        ...settings,
      })

      expect(config.keys.accessAlgorithm).toBe(name === 'env' ? 'HS256' : 'ES256')
      expect((await config.secrets.load()).problems).toEqual([])
      expect(new Set(Object.values(settings)).size).toBe(Object.keys(settings).length)
    },
  )

  test('writes to a file that only this user can read', () => {
    expect(results.file).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect(statSync(inFolder('new')).mode & 0o777).toBe(0o600)
    expect(Object.keys(parse(readFileSync(inFolder('new'))))).toEqual([
      'JWT_ACCESS_SECRET',
      'JWT_REFRESH_SECRET',
    ])
  })

  test('never replaces a file', () => {
    expectRefusal(results.there, 1, /^there exists already, and was not changed\. Choose another file\./)
    expect(readFileSync(inFolder('there'), 'utf8')).toBe('mine')
    expectRefusal(results.nowhere, 1, /cannot be written \(ENOENT\)/)
  })
})

describe('rotate', () => {
  const dotenv = { folder: newFolder(), old: newSecret() }
  const files = { folder: newFolder(), old: newSecret() }
  const taken = { folder: newFolder(), old: newSecret() }
  const env = (folder: string) => join(folder, '.env')
  const text = `# ours\nJWT_ACCESS_SECRET=${newSecret()}\nJWT_REFRESH_SECRET=${dotenv.old}\n`
  const results = ran(() => {
    for (const { folder } of [dotenv, taken]) writeFileSync(env(folder), text, { mode: 0o600 })
    writeFileSync(join(files.folder, 'refresh'), files.old)
    return {
      dotenv: secrets('rotate JWT_REFRESH_SECRET', {}, dotenv.folder),
      file: secrets('rotate JWT_REFRESH_SECRET', { JWT_REFRESH_SECRET_FILE: join(files.folder, 'refresh') }),
      platform: secrets('rotate JWT_REFRESH_SECRET', { JWT_REFRESH_SECRET: taken.old }, taken.folder),
      unset: secrets('rotate JWT_ACCESS_SECRET'),
    }
  })

  test('in .env moves the current secret to the previous one', () => {
    const after = parse(readFileSync(env(dotenv.folder)))

    expect(results.dotenv).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/^JWT_REFRESH_SECRET: A new secret is in \.env/),
    })
    expect(after.JWT_REFRESH_SECRET_PREVIOUS).toBe(dotenv.old)
    expect(after.JWT_REFRESH_SECRET).toMatch(/^[\w-]{64}$/)
    expect(after.JWT_REFRESH_SECRET).not.toBe(dotenv.old)
    expect(results.dotenv.stdout).not.toContain(after.JWT_REFRESH_SECRET)
    expect(results.dotenv.stdout).not.toContain(dotenv.old)
    expect(statSync(env(dotenv.folder)).mode & 0o777).toBe(0o600)
  })

  test('in a file moves the current secret to a file beside it', () => {
    const [fresh, kept] = ['refresh', 'refresh.previous'].map((name) =>
      readFileSync(join(files.folder, name), 'utf8').trim(),
    )

    expect(results.file).toMatchObject({ code: 0, stderr: '' })
    expect(kept).toBe(files.old)
    expect(fresh).toMatch(/^[\w-]{64}$/)
    for (const value of [fresh, kept]) expect(results.file.stdout).not.toContain(value)
  })

  test('of a file again at once ends with 1 and says how long to wait; --force rotates [E3]', async () => {
    const path = join(newFolder(), 'refresh')
    writeFileSync(path, newSecret())
    const settings = { JWT_REFRESH_SECRET_FILE: path }
    await secrets('rotate JWT_REFRESH_SECRET', settings)
    const rotated = readFileSync(path, 'utf8')

    const refused = await secrets('rotate JWT_REFRESH_SECRET', settings)
    expectRefusal(
      refused,
      1,
      /^JWT_REFRESH_SECRET: was not rotated\. .* logged out\. Wait until [\dT:-]+ UTC, or add --force\.$/m,
    )
    expect(readFileSync(path, 'utf8')).toBe(rotated)

    expect(await secrets('rotate JWT_REFRESH_SECRET --force', settings)).toMatchObject({
      code: 0,
      stderr: '',
    })
    expect(readFileSync(`${path}.previous`, 'utf8')).toBe(rotated)
  })

  test('in a file, then a restart: nobody is logged out, and check shows both [E3]', async () => {
    const folder = newFolder()
    const path = join(folder, 'refresh')
    writeFileSync(path, newSecret())
    const settings = {
      PUBLIC_URL: 'http://localhost:3000',
      JWT_ACCESS_SECRET: newSecret(),
      JWT_REFRESH_SECRET: '',
      JWT_REFRESH_SECRET_FILE: path,
      DATA_DIR: join(folder, 'data'),
    }
    const before = await startServer(settings)
    const body = { email: 'a@example.com', password: 'my dog is called rex' }
    const { refreshToken = '' } = await send('POST', `${before.url}/auth/register`, { body })

    const rotated = await secrets('rotate JWT_REFRESH_SECRET', { ...good(), ...settings })
    await before.end('SIGTERM')
    const after = await startServer(settings)
    try {
      const answer = await send('POST', `${after.url}/auth/refresh`, { refreshToken })
      const check = await secrets('check', { ...good(), ...settings })

      expect(rotated.code).toBe(0)
      expect(answer.status).toBe(200)
      expect(kidIn(answer.refreshToken)).not.toBe(kidIn(refreshToken))
      expect(cellsOf(check.stdout).slice(-2)).toEqual([
        ['JWT_REFRESH_SECRET', `ref+file://${path}`, '-', changeOf(path), 'signing', 'ok'],
        [
          'JWT_REFRESH_SECRET_PREVIOUS',
          `ref+file://${path}.previous`,
          '-',
          changeOf(`${path}.previous`),
          'verifying',
          'ok',
        ],
      ])
    } finally {
      await after.end('SIGTERM')
    }
  })

  test('of a variable of the platform prints advice, and leaves .env unchanged', () => {
    expectRefusal(
      results.platform,
      78,
      /^JWT_REFRESH_SECRET: is set on the platform, which only you can change/,
    )
    expect(results.platform.stderr).not.toContain(taken.old)
    expect(readFileSync(env(taken.folder), 'utf8')).toBe(text)
  })

  test('of an unset variable says that it is not set', () => {
    expectRefusal(results.unset, 78, /^JWT_ACCESS_SECRET: is not set\. Set it to the place for its secret\./)
  })
})

describe('keys', () => {
  const report: KeysReport = {
    status: 'ok',
    loadAge: 12.4,
    failures: 3,
    access: [
      {
        kid: 'new',
        state: 'published',
        source: 'ref+store://auth#/A',
        version: '2',
        createdAt: 1_700_000_000_000,
        since: 1_700_000_000_000,
      },
      {
        kid: 'old',
        state: 'signing',
        source: 'ref+store://auth#/A',
        version: '1',
        createdAt: 1_600_000_000_000,
        since: 1_600_000_000_000,
      },
    ],
    refresh: [{ kid: 'lone', state: 'signing', source: 'environment', since: 1_700_000_000_000 }],
  }
  const asked: (string | undefined)[] = []
  const operator = createServer((req, res) => {
    asked.push(`${req.method} ${req.url}`)
    res.setHeader('content-type', 'application/json').end(JSON.stringify(report))
  })
  const other = createServer((_req, res) => void res.end('<html>'))
  // A terminal obeys these: the 7-bit and the 8-bit introducer of sequences, DEL, and a mark that reverses text.
  const hostile = createServer((_req, res) => {
    const text = 'a\u001b[2Jb\u009b31mc\u007f\u202ed\r\ne'
    const key = { kid: text, state: text, source: text, version: text }
    res.end(JSON.stringify({ ...report, status: text, access: [key], refresh: [] }))
  })
  const malformed = createServer((_req, res) => {
    res.end(JSON.stringify({ ...report, access: [{ kid: {}, state: 1, createdAt: 1e300 }] }))
  })
  let results: Record<'byPort' | 'byUrl' | 'nobody' | 'other' | 'hostile' | 'malformed', Result>
  beforeAll(async () => {
    for (const server of [operator, other, hostile, malformed])
      await once(server.listen(0, 'localhost'), 'listening')
    const portOf = (server: typeof operator) => String((server.address() as AddressInfo).port)
    const [byPort, byUrl, nobody, wrong, escapes, shapeless] = await Promise.all([
      secrets('keys', { METRICS_PORT: portOf(operator) }),
      secrets(`keys --url http://localhost:${portOf(operator)}`),
      secrets('keys --url http://127.0.0.1:1'),
      secrets(`keys --url http://localhost:${portOf(other)}`),
      secrets(`keys --url http://localhost:${portOf(hostile)}`),
      secrets(`keys --url http://localhost:${portOf(malformed)}`),
    ])
    results = { byPort, byUrl, nobody, other: wrong, hostile: escapes, malformed: shapeless }
  })
  afterAll(() => {
    operator.close()
    other.close()
    hostile.close()
    malformed.close()
  })

  test('prints no control characters of the answer', () => {
    const { code, stdout } = results.hostile

    expect(code).toBe(0)
    expect(stdout).toContain('a[2Jb31mcde')
    expect(stdout.replaceAll('\n', '')).toMatch(/^[^\p{Cc}\p{Cf}]*$/u)
  })

  test.each(['byPort', 'byUrl'] as const)('prints the keys of the running server: %s', (name) => {
    const { code, stdout, stderr } = results[name]

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(cellsOf(stdout)).toEqual([
      ['TOKEN', 'KID', 'STATE', 'SOURCE', 'VERSION', 'CREATED'],
      ['access', 'new', 'published', 'ref+store://auth#/A', '2', '2023-11-14T22:13:20'],
      ['access', 'old', 'signing', 'ref+store://auth#/A', '1', '2020-09-13T12:26:40'],
      ['refresh', 'lone', 'signing', 'environment', '-', '-'],
      [''],
      ['Status ok. Last full load 12 s ago. 3 failed loads.'],
    ])
    expect(asked).toEqual(['GET /keys', 'GET /keys'])
  })

  test.each(['nobody', 'other', 'malformed'] as const)(
    'says that no server answered, if the port belongs to %s',
    (name) => {
      expectRefusal(
        results[name],
        1,
        /^No server answered at http:.*\. Start it with METRICS_PORT, or correct --url\./,
      )
    },
  )
})

describe('check', () => {
  const settings = good()
  const folder = newFolder()
  const previous = newSecret()
  writeFileSync(join(folder, 'previous'), previous)
  const weak = 'correct horse battery staple, correct horse battery'
  const key = newPrivateKey('ES256')
  const bad: [reason: string, settings: Settings, problem: RegExp][] = [
    ['a missing secret', { JWT_REFRESH_SECRET: '' }, /^JWT_REFRESH_SECRET: is required/m],
    [
      'a weak secret',
      { JWT_ACCESS_SECRET: weak },
      /^JWT_ACCESS_SECRET: is made of repeats, sequences or words/m,
    ],
    [
      'a short secret',
      { JWT_ACCESS_SECRET: previous.slice(0, 20) },
      /^JWT_ACCESS_SECRET: has less than 32 bytes/m,
    ],
    [
      'one secret for two',
      { JWT_REFRESH_SECRET: settings.JWT_ACCESS_SECRET ?? '' },
      /is the same as JWT_ACCESS_SECRET/,
    ],
    ['a weak previous one', { JWT_ACCESS_SECRET_PREVIOUS: weak }, /^JWT_ACCESS_SECRET_PREVIOUS: is made of/m],
    [
      'a missing file',
      { JWT_ACCESS_SECRET: '', JWT_ACCESS_SECRET_FILE: '/nowhere' },
      /The file \/nowhere is missing/,
    ],
    ['a malformed reference', { JWT_ACCESS_SECRET: 'ref+file:x' }, /is not a reference/],
    ['a key of another kind', { JWT_ALGORITHM: 'RS256', JWT_ACCESS_PRIVATE_KEY: key }, /is not an RSA key/],
    [
      'a _PREVIOUS_FILE that cannot be read',
      { JWT_ACCESS_SECRET_PREVIOUS_FILE: '/' },
      /^JWT_ACCESS_SECRET_PREVIOUS: The path is not a regular file/m,
    ],
    ['another wrong setting', { PORT: 'x' }, /^PORT: must be/m],
  ]
  const results = ran(() => ({
    good: secrets('check', { ...settings, JWT_ACCESS_SECRET_PREVIOUS_FILE: join(folder, 'previous') }),
    ES256: secrets('check', { ...settings, JWT_ALGORITHM: 'ES256', JWT_ACCESS_PRIVATE_KEY: key }),
    ...Object.fromEntries(
      bad.map(([reason, changes]) => [reason, secrets('check', { ...settings, ...changes })]),
    ),
  })) as Record<string, Result>

  test('of good settings prints the source and the state of each secret', () => {
    const { code, stdout, stderr } = results.good as Result

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(cellsOf(stdout)).toEqual([
      ['VARIABLE', 'SOURCE', 'VERSION', 'CREATED', 'STATE', 'RESULT'],
      ['JWT_ACCESS_SECRET', 'environment', '-', '-', 'signing', 'ok'],
      [
        'JWT_ACCESS_SECRET_PREVIOUS',
        `ref+file://${join(folder, 'previous')}`,
        '-',
        changeOf(join(folder, 'previous')),
        'verifying',
        'ok',
      ],
      ['JWT_REFRESH_SECRET', 'environment', '-', '-', 'signing', 'ok'],
    ])
  })

  test('with private keys leaves out the unused secret', () => {
    const { code, stdout } = results.ES256 as Result

    expect(code).toBe(0)
    expect(stdout).toMatch(/^JWT_ACCESS_PRIVATE_KEY +environment +- +- +signing +ok$/m)
    expect(stdout).not.toMatch(/JWT_ACCESS_SECRET/)
  })

  describe('with --max-age', () => {
    const aged = newFolder()
    const write = (name: string, days: number) => {
      const path = join(aged, name)
      writeFileSync(path, newSecret())
      const time = new Date(Date.now() - days * 86_400_000)
      utimesSync(path, time, time)
      return path
    }
    const filesOf = (days: number, previousDays = days) => ({
      PUBLIC_URL: 'https://auth.example.com',
      DATA_DIR: 'memory://',
      JWT_ACCESS_SECRET_FILE: write(`access-${days}`, 1),
      JWT_REFRESH_SECRET_FILE: write(`refresh-${days}`, days),
      JWT_REFRESH_SECRET_PREVIOUS_FILE: write(`previous-${days}`, previousDays),
    })
    const ages = ran(() => ({
      young: secrets('check --max-age 90d', filesOf(89, 300)),
      old: secrets('check --max-age 90d', filesOf(91)),
      hours: secrets('check --max-age 2h', filesOf(0.5)),
      unlimited: secrets('check', filesOf(1000)),
      undated: secrets('check --max-age 90d', good()),
    }))

    test('ends with 78 if a current secret is older, and names it', () => {
      expect(ages.young).toMatchObject({ code: 0, stderr: '' })
      expect(ages.old.code).toBe(78)
      expect(ages.old.stderr).toBe(
        'JWT_REFRESH_SECRET: is older than 90d. Rotate it: npm run secrets -- rotate JWT_REFRESH_SECRET\n',
      )
      expect(ages.hours.stderr.match(/^JWT_\w+(?=: is older than 2h)/gm)).toEqual([
        'JWT_ACCESS_SECRET',
        'JWT_REFRESH_SECRET',
      ])
      expect(ages.unlimited).toMatchObject({ code: 0, stderr: '' })
    })

    test('says that the age of a secret in the environment is unknown', () => {
      expect(ages.undated.code).toBe(0)
      expect(ages.undated.stderr.match(/has an unknown age/g)).toHaveLength(2)
    })
  })

  test('warns of files that every user can write, and accepts them', async () => {
    const path = join(newFolder(), 'access')
    writeFileSync(path, newSecret())
    chmodSync(path, 0o666)

    const { code, stdout } = await secrets('check', {
      ...good(),
      JWT_ACCESS_SECRET: '',
      JWT_ACCESS_SECRET_FILE: path,
    })

    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^JWT_ACCESS_SECRET .* ok\. Every user can write the file\. Run chmod o-w on it\.$/m,
    )
    expect(stdout).toMatch(
      /^JWT_ACCESS_SECRET_PREVIOUS .* none +none yet \(the first rotation creates it\)$/m,
    )
  })

  test.each(bad)('of %s ends with 78 and the reason [E1]', (reason, _changes, problem) => {
    const { code, stderr } = results[reason] as Result

    expect({ code, stderr }).toEqual({ code: 78, stderr: expect.stringMatching(problem) })
  })

  test('prints no secret [E6]', async () => {
    const printed = Object.values(results)
      .map(({ stdout, stderr }) => stdout + stderr)
      .join('\n')
    const values = [settings, ...bad.map(([, changes]) => changes)].flatMap((each) =>
      ['JWT_ACCESS_SECRET', 'JWT_REFRESH_SECRET'].map((name) => each[name] ?? ''),
    )

    expect(Object.keys(results)).toHaveLength(bad.length + 2)
    for (const value of [...values, previous, weak, key.split('\n')[1] ?? ''].filter(
      (text) => text && !text.startsWith('ref+'),
    ))
      expect(printed).not.toContain(value)
  })
})
