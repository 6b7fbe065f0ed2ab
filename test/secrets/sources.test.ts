import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals'
import { newSecret } from '../../src/secrets/cli/generate.ts'
import { SourceError } from '../../src/secrets/source-error.ts'
import { createSources, storeKinds } from '../../src/secrets/sources.ts'
import type { StoreKind } from '../../src/secrets/stores/secret-store.ts'

const openSource = createSources({})

const root = mkdtempSync(join(tmpdir(), 'sources-'))
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(root, 'case-'))
})
afterAll(() => rmSync(root, { recursive: true }))

const at = (name: string) => join(folder, name)
const fileSource = (path: string) => openSource(`ref+file://${path}`)
const newest = async (source: ReturnType<typeof openSource>) => (await source.versions())[0]?.value
const read = (path: string) => newest(fileSource(path))

/** Replaces a file in one step, as operators should. */
function replace(path: string, content: string | Buffer) {
  writeFileSync(`${path}.new`, content)
  renameSync(`${path}.new`, path)
}

const fakeKind = (more: Partial<StoreKind> = {}): StoreKind => ({
  scheme: 'fake',
  field: 'optional',
  example: 'ref+fake://PLACE',
  connect: () => Promise.reject(new Error('not expected')),
  ...more,
})

async function failure(action: () => Promise<unknown>): Promise<SourceError> {
  const result = await action().catch((error: unknown) => error)
  if (result instanceof SourceError) return result
  throw new Error('expected a SourceError')
}

test.each(['plain', 'two\nlines\n', ' spaces ', 'file:///etc/passwd', 'REF+file:///etc/passwd', 'vault://x'])(
  'a value is the secret itself, one version without a date: %j',
  async (value) => {
    expect(await openSource(value).versions()).toEqual([{ value, source: 'environment' }])
  },
)

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
    'ref+fake',
    'ref+fake://',
    'ref+fake:/secret/app#/KEY',
  ])('%s is refused, with the schemes that exist', (text) => {
    expect(() => createSources({}, { kinds: [fakeKind()] })(text)).toThrow(
      new SourceError(
        'malformed',
        'is not a reference that this server can read. Use one of ref+file://, ref+fake://.',
      ),
    )
  })

  test('is refused without showing what it says [E6]', () => {
    expect(() => openSource('ref+canary://canary')).toThrow(
      expect.not.objectContaining({ message: /canary/ }),
    )
  })

  test.each(['secret', './secret', '../secret', '~/secret', 'localhost/secret', ' /secret'])(
    'ref+file://%s is refused, because the path is not absolute [E2]',
    (path) => {
      expect(() => fileSource(path)).toThrow(
        new SourceError('malformed', 'The path is not absolute. Write it like ref+file:///path.'),
      )
    },
  )

  test.each(storeKinds)('$example is opened without a call to the store', ({ scheme, field }) => {
    const reference = `ref+${scheme}://shop/app${field === 'required' ? '#/key with spaces' : ''}`
    const source = openSource(reference)

    expect(source.label).toBe(reference)
    expect(source.rotate).toEqual(expect.any(Function))
  })

  const wrong = {
    required: ['shop/jwt'],
    optional: [],
    none: ['shop/jwt#/KEY'],
    any: [
      'shop/jwt?version=1',
      'shop/jwt?version=1#/KEY',
      'shop/jwt#/KEY?version=1',
      'shop/jwt#/a/b',
      'shop/jwt#/a#/b',
      'shop/jwt#/',
      'shop/jwt#KEY',
      'shop/jwt#',
      '#/KEY',
      'shop/my jwt',
      ' shop/jwt',
      'shop/jwt ',
      'shop/jwt\n',
      'shop/jwt\t#/KEY',
    ],
  }
  const cases = (['required', 'optional', 'none'] as const).flatMap((field) =>
    [...wrong[field], ...wrong.any].map((place) => [place, field] as const),
  )
  test.each(cases)('with the place %j and a field that is %s is refused, with an example', (place, field) => {
    const open = () => createSources({}, { kinds: [fakeKind({ field })] })(`ref+fake://${place}`)

    expect(open).toThrow(
      new SourceError('malformed', 'The reference is wrong. Write it like ref+fake://PLACE.'),
    )
    expect(open).toThrow(expect.objectContaining({ fault: 'malformed' }))
  })
})

describe('references to a store', () => {
  /** A store whose secrets have two versions of an object. The second one changes REFRESH only. */
  function createStore() {
    const values: Record<string, object> = {
      1: { ACCESS: 'access', REFRESH: 'the old' },
      2: { ACCESS: 'access', REFRESH: 'the new' },
    }
    const calls: string[] = []
    const kind = fakeKind({
      async connect() {
        calls.push('connect')
        return (place) => ({
          async list() {
            calls.push(`list ${place}`)
            return ['1', '2'].map((id) => ({ id, createdAt: Number(id), state: 'enabled' }))
          },
          async read(id) {
            calls.push(`read ${place} ${id}`)
            return JSON.stringify(values[id])
          },
          async write() {},
        })
      },
    })
    return { calls, openSource: createSources({}, { kinds: [kind] }) }
  }

  test('that name two fields of one secret read it once, and date each field by its own changes', async () => {
    const { calls, openSource } = createStore()

    const [access, refresh] = await Promise.all([
      openSource('ref+fake://app#/ACCESS').versions(),
      openSource('ref+fake://app#/REFRESH').versions(),
    ])

    expect(calls.toSorted()).toEqual(['connect', 'list app', 'read app 1', 'read app 2'])
    expect(access.map(({ id, value }) => [id, value])).toEqual([['1', 'access']])
    expect(refresh.map(({ id, value }) => [id, value])).toEqual([
      ['2', 'the new'],
      ['1', 'the old'],
    ])
  })

  test('share the values that were read, and list again', async () => {
    const { calls, openSource } = createStore()
    await openSource('ref+fake://app#/ACCESS').versions()
    calls.length = 0

    await openSource('ref+fake://app#/REFRESH').versions()

    expect(calls).toEqual(['list app'])
  })

  test('share the connection for different secrets', async () => {
    const { calls, openSource } = createStore()

    for (const place of ['app', 'other']) await openSource(`ref+fake://${place}#/ACCESS`).versions()

    expect(calls.filter((call) => !call.startsWith('read'))).toEqual(['connect', 'list app', 'list other'])
  })

  test('connect again at the next load after a failure', async () => {
    let isInstalled = false
    const kind = fakeKind({
      async connect() {
        if (!isInstalled) throw new SourceError('sdk_missing', 'Install it.')
        return () => ({ list: async () => [], read: async () => '', write: async () => {} })
      },
    })
    const source = createSources({}, { kinds: [kind] })('ref+fake://place')
    expect((await failure(() => source.versions())).fault).toBe('sdk_missing')

    isInstalled = true

    expect(await source.versions()).toEqual([])
  })
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
  ])('that ends with %s loses one trailing newline at most [E2]', async (_what, content, expected) => {
    writeFileSync(at('secret'), content)

    expect(await read(at('secret'))).toBe(expected)
  })

  test('may have 16 KiB and not a byte more [E2]', async () => {
    writeFileSync(at('full'), 'x'.repeat(16 * 1024))
    writeFileSync(at('over'), 'x'.repeat(16 * 1024 + 1))

    expect(await read(at('full'))).toHaveLength(16 * 1024)
    expect((await failure(() => read(at('over')))).message).toBe(
      'The file is over 16 KiB. Name the right file.',
    )
  })

  const missing = 'The file PATH is missing. Create it, or correct the path.'
  const empty = 'The file is empty. Write the secret into it.'
  const irregular = 'The path is not a regular file. Name the file itself.'
  const unreadable = 'The file PATH cannot be read (ELOOP). Fix its permissions, or correct the path.'
  const notText = 'The file is not UTF-8 text. Name the right file.'
  test.each<[what: string, message: string, arrange: (path: string) => void]>([
    ['missing', missing, () => {}],
    ['a link to a missing file', missing, (path) => symlinkSync('nowhere', path)],
    ['empty', empty, (path) => writeFileSync(path, '')],
    ['only a newline', empty, (path) => writeFileSync(path, '\r\n')],
    ['a directory', irregular, mkdirSync],
    ['a device', irregular, (path) => symlinkSync('/dev/zero', path)],
    ['a link to itself', unreadable, (path) => symlinkSync(path, path)],
    ['not UTF-8', notText, (path) => writeFileSync(path, Buffer.from('736563726574ff', 'hex'))],
    [
      'UTF-16',
      'The file is UTF-16. Save it as UTF-8.',
      (path) => writeFileSync(path, Buffer.from('\ufeffsecret', 'utf16le')),
    ],
  ])('that is %s is a clear error [E2]', async (_what, message, arrange) => {
    arrange(at('secret'))

    expect((await failure(() => read(at('secret')))).message).toBe(message.replace('PATH', at('secret')))
  })

  // A network file system may fail like this file: it can be opened, but not read.
  const onLinux = process.platform === 'linux' ? test : test.skip
  onLinux('that fails during the read is a clear error [E2]', async () => {
    expect((await failure(() => read('/proc/self/mem'))).message).toMatch(/cannot be read \(EIO\)/)
  })

  test.each<[what: string, warning: RegExp | undefined, fileMode: number, folderMode: number]>([
    ['every user may write it', /Every user can write the file\. Run chmod o-w on it\./, 0o666, 0o755],
    [
      'every user may replace it',
      /Every user can replace the file\. Run chmod o-w on its folder\./,
      0o600,
      0o777,
    ],
    ['its folder is like /tmp', undefined, 0o600, 0o1777],
    ['its group may write it', undefined, 0o660, 0o775],
  ])('comes with a warning if %s, and is used [E2]', async (_what, warning, fileMode, folderMode) => {
    const secret = newSecret()
    mkdirSync(at('modes'))
    const path = join(at('modes'), 'secret')
    writeFileSync(path, secret)
    chmodSync(path, fileMode)
    chmodSync(at('modes'), folderMode)

    const [version] = await fileSource(path).versions()

    expect(version?.value).toBe(secret)
    expect(version?.warning).toEqual(warning && expect.stringMatching(warning))
  })

  test('that was unreadable is read again once it is fixed [E2]', async () => {
    const secret = newSecret()
    writeFileSync(at('secret'), secret)
    const source = fileSource(at('secret'))
    await source.versions()

    replace(at('secret'), Buffer.from([0xff]))
    await failure(() => source.versions())
    replace(at('secret'), secret)

    expect(await newest(source)).toBe(secret)
  })
})

describe('a change of a file', () => {
  const [first, second] = [newSecret(), newSecret()]

  test('is noticed after an atomic replacement [E2]', async () => {
    writeFileSync(at('secret'), `${first}\n`)
    const source = fileSource(at('secret'))
    const before = await newest(source)

    replace(at('secret'), `${second}\n`)

    expect([before, await newest(source)]).toEqual([first, second])
  })

  test('is noticed after a write in place [E2]', async () => {
    writeFileSync(at('secret'), first)
    const source = fileSource(at('secret'))
    await source.versions()

    writeFileSync(at('secret'), second)

    expect(await newest(source)).toBe(second)
  })

  test('is not a trailing newline more or less [E2]', async () => {
    writeFileSync(at('secret'), first)
    const source = fileSource(at('secret'))
    await source.versions()

    replace(at('secret'), `${first}\n`)

    expect(await newest(source)).toBe(first)
  })

  test('is noticed after the swap of a symbolic link, as Kubernetes does it [E2]', async () => {
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
