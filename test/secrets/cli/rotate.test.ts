import { createPrivateKey } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { parse } from 'dotenv'
import { newPrivateKey, newSecret } from '../../../src/secrets/cli/generate.ts'
import { type Rotatable, rotate } from '../../../src/secrets/cli/rotate.ts'
import { SourceError } from '../../../src/secrets/source-error.ts'
import { createSources } from '../../../src/secrets/sources.ts'

const root = mkdtempSync(join(tmpdir(), 'rotate-'))
const home = process.cwd()
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(root, 'case-'))
  process.chdir(folder)
})
afterEach(() => process.chdir(home))
afterAll(() => rmSync(root, { recursive: true }))

const at = (name: string) => join(folder, name)
const read = (name: string) => readFileSync(at(name), 'utf8')
/** Returns the content of each file, and the target of each link. */
const snapshot = () =>
  Object.fromEntries(
    readdirSync(folder).map((name) => [
      name,
      lstatSync(at(name)).isSymbolicLink() ? { link: readlinkSync(at(name)) } : read(name),
    ]),
  )
const modeOf = (name: string) => statSync(at(name)).mode & 0o7777
/** Matches the results of `newSecret`. */
const secret = '[\\w-]{64}'

type Texts = Record<string, string | undefined>
type Given = { platform?: Texts; algorithm?: 'HS256' | 'RS256' | 'ES256'; force?: boolean }
const keepMs = 3_600_000

const rotateTexts = (
  name: Rotatable,
  texts: Texts,
  { platform = {}, algorithm = 'HS256', force = true }: Given = {},
) =>
  rotate(name, { texts, platform, algorithm, force, keepMs, clock: Date.now, openSource: createSources({}) })

async function failure(action: Promise<unknown>): Promise<SourceError> {
  const result = await action.catch((error: unknown) => error)
  if (result instanceof SourceError) return result
  throw new Error(`expected a SourceError, got ${result}`)
}

describe('.env', () => {
  /** Writes this text to `.env`, and rotates a secret in it. */
  const rotateIn = (text: string, name: Rotatable = 'JWT_REFRESH_SECRET', given: Given = {}) => {
    writeFileSync('.env', text)
    return rotateTexts(name, { ...parse(text), ...given.platform }, given)
  }

  test('the current secret becomes the previous one, and every other line stays', async () => {
    const old = newSecret()
    const others = `A=1\n\nJWT_ACCESS_SECRET=${newSecret()}  # the other\n`

    const message = await rotateIn(
      `# of this machine\n${others}JWT_REFRESH_SECRET=${old} # mine\n# end\nZ='2'\n`,
    )

    const changed = new RegExp(
      `^# of this machine\n${others}JWT_REFRESH_SECRET=(${secret})\nJWT_REFRESH_SECRET_PREVIOUS=${old} # mine\n# end\nZ='2'\n$`,
    )
    expect(read('.env')).toMatch(changed)
    expect(read('.env')).not.toContain(`JWT_REFRESH_SECRET=${old}`)
    expect(message).toMatch(/JWT_REFRESH_SECRET_PREVIOUS\. Restart the server\.$/)
  })

  test.each([
    ['without a newline at the end', (old: string) => `A=1\nJWT_REFRESH_SECRET=${old}`],
    ['with CRLF', (old: string) => `A=1\r\nJWT_REFRESH_SECRET=${old}\r\nB=2\r\n`],
    ['in single quotes', (old: string) => `A=1\nJWT_REFRESH_SECRET='${old}'\nB=2\n`],
    ['in double quotes', (old: string) => `A=1\nJWT_REFRESH_SECRET="${old}"\nB=2\n`],
    ['exported', (old: string) => `export A=1\nexport JWT_REFRESH_SECRET=${old}\nB=2\n`],
    ['with spaces around the sign', (old: string) => `A=1\nJWT_REFRESH_SECRET = ${old}\nB=2\n`],
    [
      'beside a previous one',
      (old: string) => `JWT_REFRESH_SECRET_PREVIOUS=${newSecret()}\nA=1\nJWT_REFRESH_SECRET=${old}\n`,
    ],
    [
      'before a previous one in quotes',
      (old: string) => `JWT_REFRESH_SECRET=${old}\nA=1\nJWT_REFRESH_SECRET_PREVIOUS="${newSecret()}"\n`,
    ],
  ])('a secret %s', async (_how, text) => {
    const old = newSecret()
    const before = parse(text(old))

    const message = await rotateIn(text(old))

    const { JWT_REFRESH_SECRET: fresh = '', ...after } = parse(read('.env'))
    expect(fresh).toMatch(new RegExp(`^${secret}$`))
    expect(fresh).not.toBe(old)
    const { JWT_REFRESH_SECRET: _, ...others } = before
    expect(after).toEqual({ ...others, JWT_REFRESH_SECRET_PREVIOUS: old })
    expect(read('.env').match(/_PREVIOUS/g)).toHaveLength(1)
    expect(message).not.toContain(old)
    expect(message).not.toContain(fresh)
  })

  test.each([
    ['over several lines', (pem: string) => `"${pem}"`],
    ['on one line', (pem: string) => `"${pem.replaceAll('\n', '\\n')}"`],
  ])('a private key %s', async (_how, written) => {
    const old = newPrivateKey('ES256')
    const refreshSecret = newSecret()

    await rotateIn(
      `JWT_ACCESS_PRIVATE_KEY=${written(old)}\nJWT_REFRESH_SECRET=${refreshSecret}\n`,
      'JWT_ACCESS_PRIVATE_KEY',
      { algorithm: 'ES256' },
    )

    const after = parse(read('.env'))
    expect(after.JWT_ACCESS_PRIVATE_KEY_PREVIOUS).toBe(old)
    expect(after.JWT_ACCESS_PRIVATE_KEY).not.toBe(old)
    expect(createPrivateKey(after.JWT_ACCESS_PRIVATE_KEY ?? '').asymmetricKeyDetails).toEqual({
      namedCurve: 'prime256v1',
    })
    expect(after.JWT_REFRESH_SECRET).toBe(refreshSecret)
  })

  test.each([0o600, 0o640, 0o644])('keeps its mode, number %i', async (mode) => {
    writeFileSync('.env', '')
    chmodSync('.env', mode)

    await rotateIn(`JWT_REFRESH_SECRET=${newSecret()}\n`)

    expect(modeOf('.env')).toBe(mode)
    expect(readdirSync(folder)).toEqual(['.env'])
  })

  test.each([
    [
      'is there twice',
      (old: string) => `JWT_REFRESH_SECRET=${old}\nJWT_REFRESH_SECRET=${newSecret()}\n`,
      /by hand/,
    ],
    [
      'has its previous there twice',
      (old: string) =>
        `JWT_REFRESH_SECRET=${old}\n${`JWT_REFRESH_SECRET_PREVIOUS=${newSecret()}\n`.repeat(2)}`,
      undefined,
    ],
    ['is not at the start of its line', (old: string) => `  JWT_REFRESH_SECRET=${old}\n`, /by hand/],
    ['is written with a colon', (old: string) => `JWT_REFRESH_SECRET: ${old}\n`, /by hand/],
  ])('a secret that %s is rotated correctly, or refused', async (_how, text, refusal) => {
    const old = newSecret()
    const before = text(old)
    const result = await rotateIn(before).catch((error: Error) => error)

    if (result instanceof Error) {
      expect(read('.env')).toBe(before)
      expect(result.message).toMatch(/by hand/)
      expect(result.message).not.toContain(old)
    } else {
      expect(refusal).toBeUndefined()
      expect(parse(read('.env'))).toEqual({
        JWT_REFRESH_SECRET: expect.stringMatching(secret),
        JWT_REFRESH_SECRET_PREVIOUS: old,
      })
    }
  })

  test('a secret of the platform is not changed, and the error says how to rotate it', async () => {
    const old = newSecret()
    const text = `JWT_REFRESH_SECRET=${newSecret()}\n`

    const { fault, message } = await failure(
      rotateIn(text, 'JWT_REFRESH_SECRET', { platform: { JWT_REFRESH_SECRET: old } }),
    )

    expect(read('.env')).toBe(text)
    expect(fault).toBe('malformed')
    expect(message).toMatch(
      /Set JWT_REFRESH_SECRET_PREVIOUS to the value of JWT_REFRESH_SECRET, and .*"generate"/,
    )
    expect(message).not.toContain(old)
  })

  test.each<[what: string, Texts]>([
    ['set on the platform', { JWT_REFRESH_SECRET_PREVIOUS: newSecret() }],
    ['a file', { JWT_REFRESH_SECRET_PREVIOUS: 'ref+file:///previous' }],
  ])(
    'nothing is changed if the previous secret is %s, because it would not get the old one',
    async (_what, texts) => {
      const text = `JWT_REFRESH_SECRET=${newSecret()}\n`
      writeFileSync('.env', text)
      const platform = texts.JWT_REFRESH_SECRET_PREVIOUS?.startsWith('ref+') ? {} : texts

      const { message } = await failure(
        rotateTexts('JWT_REFRESH_SECRET', { ...parse(text), ...texts }, { platform }),
      )

      expect(message).toMatch(
        /JWT_REFRESH_SECRET_PREVIOUS is set elsewhere .*\. Remove JWT_REFRESH_SECRET_PREVIOUS/,
      )
      expect(read('.env')).toBe(text)
    },
  )

  test('reports success only for a rotation that is not lost to a concurrent one', async () => {
    const text = `JWT_ACCESS_SECRET=${newSecret()}\nJWT_REFRESH_SECRET=${newSecret()}\n`
    writeFileSync('.env', text)
    const before = parse(text)

    const results = await Promise.allSettled(
      (['JWT_ACCESS_SECRET', 'JWT_REFRESH_SECRET'] as const).map((name) => rotateTexts(name, before)),
    )

    const after = parse(read('.env'))
    const done = results.map(({ status }) => status === 'fulfilled')
    const rotated = (['JWT_ACCESS_SECRET', 'JWT_REFRESH_SECRET'] as const).map(
      (name) => after[name] !== before[name],
    )
    expect(rotated).toEqual(done)
    expect(readdirSync('.')).toEqual(['.env'])
  })

  test('is not changed if it is a link [E2]', async () => {
    writeFileSync('shared', `JWT_REFRESH_SECRET=${newSecret()}\n`)
    symlinkSync('shared', '.env')
    const before = snapshot()

    expect((await failure(rotateTexts('JWT_REFRESH_SECRET', parse(read('.env'))))).message).toMatch(
      /\.env is a symbolic link/,
    )
    expect(snapshot()).toEqual(before)
  })

  test('is not rotated without --force while a previous secret is set [E3]', async () => {
    const previous = newSecret()
    const text = `JWT_REFRESH_SECRET=${newSecret()}\nJWT_REFRESH_SECRET_PREVIOUS=${previous}\n`

    const { fault, message } = await failure(rotateIn(text, 'JWT_REFRESH_SECRET', { force: false }))

    expect([fault, message]).toEqual([
      'conflict',
      'was not rotated. Tokens of the secret in JWT_REFRESH_SECRET_PREVIOUS may still be valid, and their users would be logged out. Remove it when they have expired, or add --force.',
    ])
    expect(snapshot()).toEqual({ '.env': text })
  })

  test.each(['', 'JWT_REFRESH_SECRET_PREVIOUS=\n', `JWT_ACCESS_SECRET_PREVIOUS=${newSecret()}\n`])(
    'is rotated without --force if no previous secret is set: %#',
    async (others) => {
      const old = newSecret()

      await rotateIn(`JWT_REFRESH_SECRET=${old}\n${others}`, 'JWT_REFRESH_SECRET', { force: false })

      expect(parse(read('.env')).JWT_REFRESH_SECRET_PREVIOUS).toBe(old)
    },
  )

  test('an unset secret is reported as absent', async () => {
    expect((await failure(rotateIn('A=1\n'))).fault).toBe('absent')
    expect(read('.env')).toBe('A=1\n')
  })

  test('a private key is not made while JWT_ALGORITHM is HS256', async () => {
    const text = `JWT_ACCESS_PRIVATE_KEY="${newPrivateKey('ES256')}"\n`

    expect((await failure(rotateIn(text, 'JWT_ACCESS_PRIVATE_KEY'))).message).toMatch(/JWT_ALGORITHM/)
    expect(read('.env')).toBe(text)
  })

  test('a reader during a rotation finds a whole file', async () => {
    writeFileSync('.env', `# first\nJWT_REFRESH_SECRET=${newSecret()}\n# last\n`)

    const { reads, wrong } = await readWhile(
      '.env',
      /^# first\nJWT_REFRESH_SECRET=\S{64}\n(.*\n)?# last\n$/,
      async () => {
        for (let times = 0; times < 50; times++) await rotateTexts('JWT_REFRESH_SECRET', parse(read('.env')))
      },
    )

    expect(wrong).toEqual([])
    expect(reads).toBeGreaterThan(50)
  })
})

describe('files', () => {
  const reference = (name: string) => `ref+file://${at(name)}`

  test('the current secret moves to the file of the previous one', async () => {
    const old = newSecret()
    writeFileSync('refresh', `${old}\n`)
    writeFileSync('refresh-before', newSecret())

    const message = await rotateTexts('JWT_REFRESH_SECRET', {
      JWT_REFRESH_SECRET: reference('refresh'),
      JWT_REFRESH_SECRET_PREVIOUS: reference('refresh-before'),
    })

    expect(read('refresh')).toMatch(new RegExp(`^${secret}\n$`))
    expect(read('refresh')).not.toContain(old)
    expect(read('refresh-before')).toBe(`${old}\n`)
    expect(readdirSync(folder).sort()).toEqual(['refresh', 'refresh-before'])
    expect(message).toMatch(/load both by themselves\.$/)
    for (const value of [old, read('refresh').trim()]) expect(message).not.toContain(value)
  })

  /** Writes the files of a secret and of its previous one, which is some time old. */
  const rotatedAgo = (ms: number, previous = `${newSecret()}\n`) => {
    writeFileSync('access', newSecret())
    writeFileSync('access.previous', previous)
    const time = new Date(Date.now() - ms)
    utimesSync('access.previous', time, time)
    return snapshot()
  }
  const unforced = (name: Rotatable) => rotateTexts(name, { [name]: reference('access') }, { force: false })

  test.each<[name: Rotatable, effect: string, ago: number]>([
    ['JWT_REFRESH_SECRET', 'their users would be logged out', keepMs - 60_000],
    ['JWT_ACCESS_SECRET', 'they would be refused', 1_800_000],
    ['JWT_REFRESH_SECRET', 'their users would be logged out', 0],
  ])(
    'are not rotated for %s while tokens of its previous secret may be valid: %s, %i [E3]',
    async (name, effect, ago) => {
      const before = rotatedAgo(ago)
      const until = new Date(statSync('access.previous').mtimeMs + keepMs).toISOString().slice(0, 19)

      const { fault, message } = await failure(unforced(name))

      expect([fault, message]).toEqual([
        'conflict',
        `was not rotated. Tokens of the secret in ${at('access.previous')} may still be valid, and ${effect}. Wait until ${until} UTC, or add --force.`,
      ])
      expect(snapshot()).toEqual(before)
    },
  )

  test('are rotated again when the tokens of the previous one have expired [E3]', async () => {
    const before = rotatedAgo(keepMs + 1000)

    await unforced('JWT_ACCESS_SECRET')

    expect(read('access.previous').trim()).toBe(before.access)
    expect((await failure(unforced('JWT_ACCESS_SECRET'))).fault).toBe('conflict')
  })

  test('are rotated if the previous file is empty, or holds the current secret after an interrupted rotation', async () => {
    rotatedAgo(0, '\n')
    await unforced('JWT_ACCESS_SECRET')
    writeFileSync('access.previous', read('access'))
    await unforced('JWT_ACCESS_SECRET')

    expect(read('access')).not.toBe(read('access.previous'))
  })

  test('without a named file, the old secret goes into a file beside, for the same users', async () => {
    const old = newSecret()
    writeFileSync('access', old)
    chmodSync('access', 0o640)

    const message = await rotateTexts('JWT_ACCESS_SECRET', { JWT_ACCESS_SECRET: reference('access') })

    expect(read('access.previous')).toBe(`${old}\n`)
    expect(modeOf('access.previous')).toBe(0o640)
    expect(message).toContain(`the old one in ${at('access.previous')}`)
  })

  test.each([0o400, 0o600, 0o640])('keep their mode, number %i', async (mode) => {
    writeFileSync('access', newSecret())
    chmodSync('access', mode)

    await rotateTexts('JWT_ACCESS_SECRET', { JWT_ACCESS_SECRET: reference('access') })

    expect(modeOf('access')).toBe(mode)
  })

  test.each([
    [0o600, 0o644, 0o600],
    [0o640, 0o604, 0o600],
    [0o644, 0o600, 0o600],
  ])(
    'gives the old secret only rights that both files have: %o and %o make %o [E2]',
    async (mode, before, after) => {
      writeFileSync('access', newSecret())
      chmodSync('access', mode)
      writeFileSync('access.previous', newSecret())
      chmodSync('access.previous', before)

      await rotateTexts('JWT_ACCESS_SECRET', { JWT_ACCESS_SECRET: reference('access') })

      expect(modeOf('access.previous')).toBe(after)
      expect(modeOf('access')).toBe(mode)
    },
  )

  test('are rotated in a folder that is a link [E2]', async () => {
    const old = newSecret()
    mkdirSync('folder')
    writeFileSync('folder/access', old)
    symlinkSync('folder', 'linked')

    await rotateTexts('JWT_ACCESS_SECRET', { JWT_ACCESS_SECRET: reference('linked/access') })

    expect(read('folder/access.previous')).toBe(`${old}\n`)
    expect(read('folder/access')).toMatch(new RegExp(`^${secret}\n$`))
  })

  test.each<[what: string, current: string, previous: string | undefined, arrange: () => void]>([
    ['the current file is a link', 'link', undefined, () => symlinkSync('target', 'link')],
    ['the file beside it is a link', 'target', undefined, () => symlinkSync('stolen', 'target.previous')],
    ['the file of the previous one is a link', 'target', 'kept', () => symlinkSync('stolen', 'kept')],
    [
      'the file beside it is a link to a file',
      'target',
      undefined,
      () => {
        writeFileSync('stolen', 'theirs')
        symlinkSync('stolen', 'target.previous')
      },
    ],
  ])('are not changed if %s [E2]', async (_what, current, previous, arrange) => {
    const old = newSecret()
    writeFileSync('target', old)
    arrange()
    const before = snapshot()

    const { fault, message } = await failure(
      rotateTexts('JWT_ACCESS_SECRET', {
        JWT_ACCESS_SECRET: reference(current),
        ...(previous && { JWT_ACCESS_SECRET_PREVIOUS: reference(previous) }),
      }),
    )

    expect([fault, message]).toEqual(['malformed', expect.stringMatching(/is a symbolic link/)])
    expect(message).not.toContain(old)
    expect(snapshot()).toEqual(before)
  })

  const asRoot = process.getuid?.() === 0 ? test : test.skip
  asRoot.each(['access', 'access.previous'])(
    'are not changed if %s belongs to another user [E2]',
    async (name) => {
      writeFileSync('access', newSecret())
      writeFileSync('access.previous', newSecret())
      chownSync(name, 65_534, 65_534)
      const before = snapshot()

      const { message } = await failure(
        rotateTexts('JWT_ACCESS_SECRET', { JWT_ACCESS_SECRET: reference('access') }),
      )

      expect(message).toMatch(/belongs to another user/)
      expect(snapshot()).toEqual(before)
    },
  )

  asRoot('keep their group [E2]', async () => {
    writeFileSync('access', newSecret())
    chownSync('access', 0, 65_534)

    await rotateTexts('JWT_ACCESS_SECRET', { JWT_ACCESS_SECRET: reference('access') })

    expect(['access', 'access.previous'].map((name) => statSync(name).gid)).toEqual([65_534, 65_534])
  })

  test('are not changed if the previous secret is set elsewhere, because nobody would read the old one', async () => {
    const old = newSecret()
    writeFileSync('access', old)

    const { message } = await failure(
      rotateTexts('JWT_ACCESS_SECRET', {
        JWT_ACCESS_SECRET: reference('access'),
        JWT_ACCESS_SECRET_PREVIOUS: newSecret(),
      }),
    )

    expect(message).toMatch(
      /JWT_ACCESS_SECRET_PREVIOUS is set elsewhere .*\. Remove JWT_ACCESS_SECRET_PREVIOUS/,
    )
    expect(snapshot()).toEqual({ access: old })
  })

  test('with private keys are rotated', async () => {
    const old = newPrivateKey('ES256')
    writeFileSync('key', old)

    await rotateTexts(
      'JWT_ACCESS_PRIVATE_KEY',
      { JWT_ACCESS_PRIVATE_KEY: reference('key') },
      { algorithm: 'ES256' },
    )

    expect(read('key')).not.toBe(old)
    expect(createPrivateKey(read('key')).asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' })
    expect(read('key.previous').trim()).toBe(old.trim())
  })

  test('keep the previous secret if the new one cannot be written', async () => {
    const [current, previous] = [newSecret(), newSecret()]
    const name = 'c'.repeat(253) // Too long to have a draft beside it.
    writeFileSync(at(name), current)
    writeFileSync(at('previous'), previous)

    await expect(
      rotateTexts('JWT_ACCESS_SECRET', {
        JWT_ACCESS_SECRET: `ref+file://${at(name)}`,
        JWT_ACCESS_SECRET_PREVIOUS: `ref+file://${at('previous')}`,
      }),
    ).rejects.toThrow(
      'Nothing was changed, because a file could not be written (ENAMETOOLONG). Check its folder.',
    )

    expect([read(name), read('previous').trimEnd()]).toEqual([current, previous])
    expect(readdirSync('.').sort()).toEqual([name, 'previous'])
  })

  test('that are missing are reported as absent, and nothing is written', async () => {
    const { fault } = await failure(
      rotateTexts('JWT_ACCESS_SECRET', { JWT_ACCESS_SECRET: reference('missing') }),
    )

    expect(fault).toBe('absent')
    expect(readdirSync(folder)).toEqual([])
  })

  test('a reader during rotations finds a whole secret, and in the end the two newest', async () => {
    writeFileSync('access', `${newSecret()}\n`)
    let last = ''

    const { reads, wrong } = await readWhile('access', new RegExp(`^${secret}\n$`), async () => {
      for (let times = 0; times < 50; times++) {
        last = read('access')
        await rotateTexts('JWT_ACCESS_SECRET', { JWT_ACCESS_SECRET: reference('access') })
      }
    })

    expect(wrong).toEqual([])
    expect(reads).toBeGreaterThan(50)
    expect(read('access.previous')).toBe(last)
    expect(readdirSync(folder).sort()).toEqual(['access', 'access.previous'])
  })
})

/** Reads a file again and again during `work`. */
async function readWhile(name: string, whole: RegExp, work: () => Promise<void>) {
  let over = false
  const working = work().finally(() => {
    over = true
  })
  const wrong: string[] = []
  let reads = 0
  while (!over) {
    try {
      const text = read(name)
      if (!whole.test(text)) wrong.push(text)
    } catch (error) {
      wrong.push(String(error))
    }
    reads++
    await turn()
  }
  await working
  return { reads, wrong }
}
