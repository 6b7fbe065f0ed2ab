import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { openSource, SourceError } from '../../src/secrets/sources.ts'

const root = mkdtempSync(join(tmpdir(), 'sources-'))
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(root, 'case-'))
})
afterEach(() => {
  jest.restoreAllMocks()
})
afterAll(() => rmSync(root, { recursive: true }))

const newSecret = () => randomBytes(32).toString('base64url')
const at = (name: string) => join(folder, name)
const fileSource = (path: string) => openSource(`ref+file://${path}`)
const newest = async (source: ReturnType<typeof openSource>) => (await source.versions())[0]?.value
const read = (path: string) => newest(fileSource(path))

/** Writes as an operator should: the new file takes the old one's place at once. */
function replace(path: string, content: string | Buffer) {
  writeFileSync(`${path}.new`, content)
  renameSync(`${path}.new`, path)
}

async function failure(action: () => Promise<unknown>): Promise<SourceError> {
  const result = await action().catch((error: unknown) => error)
  if (result instanceof SourceError) return result
  throw new Error('expected a SourceError')
}

describe('a value', () => {
  test.each([
    'plain',
    'two\nlines\n',
    ' spaces ',
    'file:///etc/passwd',
    'REF+file:///etc/passwd',
    'vault://x',
  ])('%j is the secret itself, one version that was always there', async (value) => {
    expect(await openSource(value).versions()).toEqual([{ value }])
  })
})

describe('a reference', () => {
  test.each([
    'ref+',
    'ref+file',
    'ref+file:',
    'ref+file:/etc/secret',
    'ref+file://',
    'ref+://secret',
    'ref+FILE:///etc/secret',
    'ref+ file:///etc/secret',
    'ref+nowhere://secret',
    'ref+__proto__://secret',
    'ref+constructor://secret',
  ])('%s is refused, with what is known', (text) => {
    expect(() => openSource(text)).toThrow(SourceError)
    expect(() => openSource(text)).toThrow(/it reads .*ref\+file:\/\//)
  })

  test('E6 is refused without showing what it says', () => {
    expect(() => openSource('ref+canary://canary')).toThrow(
      expect.not.objectContaining({ message: /canary/ }),
    )
  })

  test.each(['secret', './secret', '../secret', '~/secret', 'localhost/secret', ' /secret'])(
    'E2 ref+file://%s is refused: the path is not absolute',
    (path) => {
      expect(() => fileSource(path)).toThrow(new SourceError('must name an absolute path, ref+file:///path'))
    },
  )
})

describe('a file', () => {
  test.each([
    ['no newline', 'secret', 'secret'],
    ['\\n', 'secret\n', 'secret'],
    ['\\r\\n', 'secret\r\n', 'secret'],
    ['two newlines', 'secret\n\n', 'secret\n'],
    ['\\r\\n twice', 'secret\r\n\r\n', 'secret\r\n'],
    ['\\r alone', 'secret\r', 'secret\r'],
    ['newlines elsewhere', '\nsec\nret\n', '\nsec\nret'],
    ['a space at its end', ' secret \n', ' secret '],
    ['UTF-8', 'sécret 🔑\n', 'sécret 🔑'],
  ])('E2 that ends with %s: one trailing newline at most is left out', async (_what, content, expected) => {
    writeFileSync(at('secret'), content)

    expect(await read(at('secret'))).toBe(expected)
  })

  test('E2 may have 16 KiB and not a byte more', async () => {
    writeFileSync(at('full'), 'x'.repeat(16 * 1024))
    writeFileSync(at('over'), 'x'.repeat(16 * 1024 + 1))

    expect(await read(at('full'))).toHaveLength(16 * 1024)
    expect((await failure(() => read(at('over')))).message).toBe(
      'its file is over 16 KiB; name the right file',
    )
  })

  const missing = 'its file is missing; create it, or correct the path'
  const empty = 'its file is empty; write the secret into it'
  const irregular = 'its path is not a regular file; name the file itself'
  const unreadable = 'its file cannot be read (ELOOP); mend its permissions or the path'
  const notText = 'its file is not UTF-8 text; name the right file'
  test.each<[what: string, message: string, arrange: (path: string) => void]>([
    ['missing', missing, () => {}],
    ['missing behind its link', missing, (path) => symlinkSync('nowhere', path)],
    ['empty', empty, (path) => writeFileSync(path, '')],
    ['empty but for a newline', empty, (path) => writeFileSync(path, '\r\n')],
    ['a directory', irregular, mkdirSync],
    ['a device', irregular, (path) => symlinkSync('/dev/zero', path)],
    ['a link to itself', unreadable, (path) => symlinkSync(path, path)],
    ['not UTF-8', notText, (path) => writeFileSync(path, Buffer.from('736563726574ff', 'hex'))],
    ['UTF-16', notText, (path) => writeFileSync(path, Buffer.from('\ufeffsecret', 'utf16le'))],
  ])('E2 that is %s is a clear error', async (_what, message, arrange) => {
    arrange(at('secret'))

    expect((await failure(() => read(at('secret')))).message).toBe(message)
  })

  // As a network file system may; this one says yes to open and stat, and no to read.
  const onLinux = process.platform === 'linux' ? test : test.skip
  onLinux('E2 that fails while it is read is a clear error too', async () => {
    expect((await failure(() => read('/proc/self/mem'))).message).toMatch(/cannot be read \(EIO\)/)
  })

  test('E2 that a faulty write left unreadable is read again once it is mended', async () => {
    const secret = newSecret()
    writeFileSync(at('secret'), secret)
    const source = fileSource(at('secret'))
    await source.versions()

    replace(at('secret'), Buffer.from([0xff]))
    await failure(() => source.versions())
    replace(at('secret'), secret)

    expect(await source.versions()).toEqual([{ value: secret }])
  })
})

describe('a change', () => {
  const [first, second] = [newSecret(), newSecret()]

  test('E2 notices an atomic replacement', async () => {
    writeFileSync(at('secret'), `${first}\n`)
    const source = fileSource(at('secret'))
    const before = await source.versions()

    replace(at('secret'), `${second}\n`)

    expect([before, await source.versions()]).toEqual([[{ value: first }], [{ value: second }]])
  })

  test('E2 notices a file written in place', async () => {
    writeFileSync(at('secret'), first)
    const source = fileSource(at('secret'))
    await source.versions()

    writeFileSync(at('secret'), second)

    expect(await newest(source)).toBe(second)
  })

  test('E2 takes a newline more or less for no change', async () => {
    writeFileSync(at('secret'), first)
    const source = fileSource(at('secret'))
    await source.versions()

    replace(at('secret'), `${first}\n`)

    expect(await source.versions()).toEqual([{ value: first }])
  })

  test('E2 notices the swap of a symbolic link, as Kubernetes makes it', async () => {
    for (const [name, value] of [['..1', first] as const, ['..2', second] as const]) {
      mkdirSync(at(name))
      writeFileSync(at(`${name}/secret`), value)
    }
    symlinkSync('..1', at('..data'))
    symlinkSync('..data/secret', at('secret'))
    const source = fileSource(at('secret'))
    const before = await newest(source)

    symlinkSync('..2', at('..data_tmp'))
    renameSync(at('..data_tmp'), at('..data'))
    rmSync(at('..1'), { recursive: true })

    expect([before, await newest(source)]).toEqual([first, second])
  })
})
