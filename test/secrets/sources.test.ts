import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { newSecret } from '../../src/secrets/cli/generate.ts'
import { SourceError } from '../../src/secrets/source-error.ts'
import { createSources } from '../../src/secrets/sources.ts'
import type { StoreKind } from '../../src/secrets/stores/secret-store.ts'

const openSource = createSources({})

const root = mkdtempSync(join(tmpdir(), 'sources-'))
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(root, 'case-'))
})
afterEach(() => {
  jest.restoreAllMocks()
})
afterAll(() => rmSync(root, { recursive: true }))

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
    expect(await openSource(value).versions()).toEqual([{ value, source: 'environment' }])
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
    expect(() => openSource(text)).toThrow(/Use one of .*ref\+file:\/\//)
  })

  test('E6 is refused without showing what it says', () => {
    expect(() => openSource('ref+canary://canary')).toThrow(
      expect.not.objectContaining({ message: /canary/ }),
    )
  })

  test.each(['secret', './secret', '../secret', '~/secret', 'localhost/secret', ' /secret'])(
    'E2 ref+file://%s is refused: the path is not absolute',
    (path) => {
      expect(() => fileSource(path)).toThrow(
        new SourceError('malformed', 'must name an absolute path: ref+file:///path.'),
      )
    },
  )
})

describe('a reference to a store', () => {
  test.each([
    'ref+vault://secret/app#/JWT_ACCESS',
    'ref+vault://team/shop/app#/key with spaces',
    'ref+awssecrets://jwt-access',
    'ref+awssecrets://shop/jwt#/ACCESS',
    'ref+awssecrets://arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/jwt-AbCdEf#/ACCESS',
    'ref+awsssm://shop/jwt-access',
    'ref+awsssm:///shop/jwt-access',
    'ref+gcpsecrets://shop-123/jwt-access',
    'ref+gcpsecrets://shop-123/jwt#/ACCESS',
    'ref+azurekeyvault://shop/jwt-access',
    'ref+azurekeyvault://shop.vault.azure.cn/jwt-access',
    'ref+azurekeyvault://localhost:8443/jwt-access',
  ])('%s is opened, without asking for anything yet', (text) => {
    const source = openSource(text)

    expect(source.label).toBe(text)
    expect(source.rotate).toEqual(expect.any(Function))
  })

  const examples = {
    vault: 'The reference is wrong. Write it like ref+vault://MOUNT/PATH#/FIELD.',
    awssecrets: 'The reference is wrong. Write it like ref+awssecrets://NAME[#/KEY].',
    awsssm: 'The reference is wrong. Write it like ref+awsssm://PATH.',
    gcpsecrets: 'The reference is wrong. Write it like ref+gcpsecrets://PROJECT/SECRET[#/KEY].',
    azurekeyvault: 'The reference is wrong. Write it like ref+azurekeyvault://VAULT/SECRET.',
  }
  const wrongEverywhere = [
    ['a query', 'shop/jwt?version=1'],
    ['a query before its field', 'shop/jwt?version=1#/KEY'],
    ['a query after its field', 'shop/jwt#/KEY?version=1'],
    ['a field within a field', 'shop/jwt#/a/b'],
    ['two fields', 'shop/jwt#/a#/b'],
    ['an empty field', 'shop/jwt#/'],
    ['a field without its slash', 'shop/jwt#KEY'],
    ['an end', 'shop/jwt#'],
    ['a field of nothing', '#/KEY'],
    ['a space', 'shop/my jwt'],
    ['a space before', ' shop/jwt'],
    ['a space after', 'shop/jwt '],
    ['a newline after', 'shop/jwt\n'],
    ['a tab before its field', 'shop/jwt\t#/KEY'],
  ]
  const wrong = Object.entries(examples).flatMap(([scheme, message]) =>
    wrongEverywhere.map(([what = '', rest = '']) => [scheme, what, rest, message] as const),
  )
  test.each([
    ...wrong,
    ['vault', 'no field', 'secret/app', examples.vault],
    ['awsssm', 'a field, which it has not', 'shop/jwt#/KEY', examples.awsssm],
    ['azurekeyvault', 'a field, which it has not', 'shop/jwt#/KEY', examples.azurekeyvault],
  ] as const)('ref+%s:// with %s is refused, with an example', (scheme, _what, rest, message) => {
    expect(() => openSource(`ref+${scheme}://${rest}`)).toThrow(new SourceError('malformed', message))
    expect(() => openSource(`ref+${scheme}://${rest}`)).toThrow(
      expect.objectContaining({ fault: 'malformed' }),
    )
  })

  test.each(['vault', 'awssecrets', 'awsssm', 'gcpsecrets', 'azurekeyvault'])(
    'ref+%s:// to nowhere is refused, with what is known',
    (scheme) => {
      for (const rest of ['', ':', ':/', '://', '//secret/app#/KEY', ':/secret/app#/KEY'])
        expect(() => openSource(`ref+${scheme}${rest}`)).toThrow(
          expect.objectContaining({
            fault: 'malformed',
            message: expect.stringMatching(/Use one of ref\+file/),
          }),
        )
    },
  )
})

test('a store that cannot be connected is connected at the next load', async () => {
  let installed = false
  const kind: StoreKind = {
    scheme: 'fake',
    field: 'none',
    example: 'ref+fake://PLACE',
    async connect() {
      if (!installed) throw new SourceError('sdk_missing', 'Install it.')
      return () => ({ list: async () => [], read: async () => '', write: async () => {} })
    },
  }
  const source = createSources({}, { kinds: [kind] })('ref+fake://place')
  expect((await failure(() => source.versions())).fault).toBe('sdk_missing')

  installed = true

  expect(await source.versions()).toEqual([])
})

describe('two references', () => {
  const asked: string[] = []
  const answers: Record<string, object> = {
    '/v1/auth/token/lookup-self': { ttl: 0 },
    '/v1/secret/metadata/app': {
      versions: {
        1: { created_time: '2026-01-01T00:00:00Z', deletion_time: '', destroyed: false },
        2: { created_time: '2026-01-02T00:00:00Z', deletion_time: '', destroyed: false },
      },
    },
    '/v1/secret/data/app?version=1': { data: { ACCESS: 'access', REFRESH: 'the old' } },
    '/v1/secret/data/app?version=2': { data: { ACCESS: 'access', REFRESH: 'the new' } },
  }
  const vault = createServer(({ url = '' }, response) => {
    asked.push(url)
    response.end(JSON.stringify({ data: answers[url] ?? answers[url.replace('other', 'app')] }))
  })
  let env: { VAULT_ADDR: string; VAULT_TOKEN: string }
  beforeEach(async () => {
    asked.length = 0
    if (!vault.listening) await new Promise<void>((resolve) => vault.listen(0, '127.0.0.1', resolve))
    env = { VAULT_ADDR: `http://127.0.0.1:${(vault.address() as AddressInfo).port}`, VAULT_TOKEN: 'token' }
  })
  afterAll(() => {
    vault.closeAllConnections()
    vault.close()
  })
  const read = (...references: string[]) => {
    const openSource = createSources(env)
    return Promise.all(references.map((reference) => openSource(reference).versions()))
  }

  test('to one place read it once, each its own field', async () => {
    const [access, refresh] = await read('ref+vault://secret/app#/ACCESS', 'ref+vault://secret/app#/REFRESH')

    expect(asked.toSorted()).toEqual(Object.keys(answers).toSorted())
    expect(refresh?.map(({ id, value }) => [id, value])).toEqual([
      ['2', 'the new'],
      ['1', 'the old'],
    ])
    // Its second version changed the other field only.
    expect(access?.map(({ id, value }) => [id, value])).toEqual([['1', 'access']])
  })

  test('read later share what was read of a version, and list anew', async () => {
    const openSource = createSources(env)
    await openSource('ref+vault://secret/app#/ACCESS').versions()
    asked.length = 0

    await openSource('ref+vault://secret/app#/REFRESH').versions()

    expect(asked).toEqual(['/v1/secret/metadata/app'])
  })

  test('to two places of one store share its login', async () => {
    await read('ref+vault://secret/app#/ACCESS', 'ref+vault://secret/other#/ACCESS')

    expect(asked.filter((url) => url.endsWith('lookup-self'))).toHaveLength(1)
    expect(asked.filter((url) => url.includes('metadata'))).toHaveLength(2)
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
  ])('E2 that ends with %s: one trailing newline at most is left out', async (_what, content, expected) => {
    writeFileSync(at('secret'), content)

    expect(await read(at('secret'))).toBe(expected)
  })

  test('E2 may have 16 KiB and not a byte more', async () => {
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
    ['missing behind its link', missing, (path) => symlinkSync('nowhere', path)],
    ['empty', empty, (path) => writeFileSync(path, '')],
    ['empty but for a newline', empty, (path) => writeFileSync(path, '\r\n')],
    ['a directory', irregular, mkdirSync],
    ['a device', irregular, (path) => symlinkSync('/dev/zero', path)],
    ['a link to itself', unreadable, (path) => symlinkSync(path, path)],
    ['not UTF-8', notText, (path) => writeFileSync(path, Buffer.from('736563726574ff', 'hex'))],
    [
      'UTF-16',
      'The file is UTF-16. Save it as UTF-8.',
      (path) => writeFileSync(path, Buffer.from('\ufeffsecret', 'utf16le')),
    ],
  ])('E2 that is %s is a clear error', async (_what, message, arrange) => {
    arrange(at('secret'))

    expect((await failure(() => read(at('secret')))).message).toBe(message.replace('PATH', at('secret')))
  })

  // As a network file system may; this one says yes to open and stat, and no to read.
  const onLinux = process.platform === 'linux' ? test : test.skip
  onLinux('E2 that fails while it is read is a clear error too', async () => {
    expect((await failure(() => read('/proc/self/mem'))).message).toMatch(/cannot be read \(EIO\)/)
  })

  test.each<[what: string, warning: RegExp | undefined, fileMode: number, folderMode: number]>([
    ['everybody may write it', /Every user can write the file\. Run chmod o-w on it\./, 0o666, 0o755],
    [
      'everybody may replace it',
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

  test('E2 that a faulty write left unreadable is read again once it is mended', async () => {
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

describe('a change', () => {
  const [first, second] = [newSecret(), newSecret()]

  test('E2 notices an atomic replacement', async () => {
    writeFileSync(at('secret'), `${first}\n`)
    const source = fileSource(at('secret'))
    const before = await newest(source)

    replace(at('secret'), `${second}\n`)

    expect([before, await newest(source)]).toEqual([first, second])
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

    expect(await newest(source)).toBe(first)
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
