import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { Delay } from '../../../src/retry.ts'
import type { SourceFault } from '../../../src/secrets/source-error.ts'
import { createSources } from '../../../src/secrets/sources.ts'
import { importSdk } from '../../../src/secrets/stores/secret-store.ts'
import { vault as vaultKind } from '../../../src/secrets/stores/vault/vault.ts'

// `test/proof/stores` tests what a real Vault does. Here are failures that a real Vault does not show on demand.

// Pauses are shorter here. The time limit too, in tests of calls that never end.
const limitMs = 3_000
let shorterLimitMs: number
let now: number
beforeEach(() => {
  shorterLimitMs = limitMs
  now = Date.now()
})
const shorterDelay: Delay = (ms, signal) =>
  delay(ms === limitMs ? shorterLimitMs : ms / 20, undefined, { signal })

interface Asked {
  /** The method and what follows `/v1/`. */
  call: string
  headers: IncomingHttpHeaders
  body: unknown
}
type Answer = (request: IncomingMessage, response: ServerResponse) => void

const json =
  (status: number, body: unknown): Answer =>
  (_request, response) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
const html =
  (status: number): Answer =>
  (_request, response) =>
    response.writeHead(status, { 'content-type': 'text/html' }).end('<html>canary</html>')
const errors = (status: number, ...errors: string[]) => json(status, { errors })
const forbidden = errors(403, 'permission denied')

interface Version {
  created_time: string
  deletion_time: string
  destroyed: boolean
}
const made = (day: number, more: Partial<Version> = {}): Version => ({
  created_time: `2026-01-0${day}T00:00:00.123456789Z`,
  deletion_time: '',
  destroyed: false,
  ...more,
})
const listed = (versions: Record<string, Version>) => json(200, { data: { versions } })
const content = (value: string) => json(200, { data: { data: { KEY: value, OTHER: 'other' }, metadata: {} } })

const lookup = 'GET auth/token/lookup-self'
const login = 'POST auth/approle/login'
const list = 'GET secret/metadata/app'
const read = 'GET secret/data/app?version=1'
const write = 'POST secret/data/app'

/** The answers of a Vault with one secret, `secret/app`, which has one version. */
const healthy: Record<string, Answer> = {
  [lookup]: json(200, { data: { ttl: 0, renewable: false } }),
  [login]: json(200, {
    auth: { client_token: 'of the role', lease_duration: 3600, renewable: true },
  }),
  [list]: listed({ 1: made(1) }),
  [read]: content('the first'),
  [write]: json(200, { data: { version: 2 } }),
}

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

/** Starts a server instead of Vault. `answers` replace those of a healthy one. */
async function startVault(answers: Record<string, Answer> = {}, tls?: { key: string; cert: string }) {
  const asked: Asked[] = []
  const all: Record<string, Answer> = { ...healthy, ...answers }
  async function handle(request: IncomingMessage, response: ServerResponse) {
    const call = `${request.method} ${request.url?.replace(/^\/v1\//, '')}`
    const body = await text(request)
    asked.push({ call, headers: request.headers, body: body && JSON.parse(body) })
    const answer = all[call] ?? all['*'] ?? errors(404)
    answer(request, response)
  }
  const server = tls ? createTlsServer(tls, handle) : createServer(handle)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    address: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    asked,
    answers: all,
    calls: () => asked.map(({ call }) => call),
  }
}
type Vault = Awaited<ReturnType<typeof startVault>>

type Settings = Record<string, string | undefined>
const environment = ({ address }: Vault, more: Settings = {}) => ({
  VAULT_ADDR: address,
  VAULT_TOKEN: 'the token',
  ...more,
})
const sourcesOf = (env: Settings) =>
  createSources(env, { clock: () => now, delay: shorterDelay, kinds: [vaultKind] })
const open = (vault: Vault, more?: Settings, reference = 'ref+vault://secret/app#/KEY') =>
  sourcesOf(environment(vault, more))(reference)
const byRole = { VAULT_TOKEN: undefined, VAULT_ROLE_ID: 'the role', VAULT_SECRET_ID: 'the secret id' }
const values = async (source: ReturnType<typeof open>) => (await source.versions()).map(({ value }) => value)

const root = mkdtempSync(join(tmpdir(), 'vault-'))
afterAll(() => rmSync(root, { recursive: true }))

function inFile(name: string, content?: string) {
  const file = join(root, name)
  const write = (content: string) => writeFileSync(file, content)
  if (content !== undefined) write(content)
  return { reference: `ref+file://${file}`, write }
}

const failure = (fault: SourceFault, message: RegExp) =>
  expect.objectContaining({ name: 'SourceError', fault, message: expect.stringMatching(message) })

/** Answers only requests with this token. */
const onlyFor =
  (token: string, answer: Answer): Answer =>
  (request, response) =>
    (request.headers['x-vault-token'] === token ? answer : forbidden)(request, response)

test('reads a secret from Vault with the token', async () => {
  const vault = await startVault()

  expect(await open(vault).versions()).toEqual([
    {
      value: 'the first',
      source: 'ref+vault://secret/app#/KEY',
      id: '1',
      createdAt: Date.parse('2026-01-01T00:00:00.123Z'),
    },
  ])
  expect(vault.calls()).toEqual([lookup, list, read])
  for (const { headers } of vault.asked)
    expect(headers).toMatchObject({ 'x-vault-token': 'the token', 'x-vault-request': 'true' })
})

describe('an answer that is not from a healthy Vault [E4]', () => {
  const half: Answer = (_request, response) =>
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"data":{"versions":{"1":{"creat')
  const cutOff: Answer = (_request, response) => {
    response.writeHead(200, { 'content-length': 1000 })
    response.write('{"data":', () => response.destroy())
  }
  const hangUp: Answer = (request) => request.socket.destroy()

  describe.each([lookup, list, read])('to %s', (call) => {
    test.each<[what: string, Answer, SourceFault, message: RegExp]>([
      ['HTML', html(200), 'unreachable', /VAULT_ADDR answered 200 without JSON\. Correct VAULT_ADDR/],
      ['HTML with 404', html(404), 'unreachable', /VAULT_ADDR answered 404 without JSON/],
      ['HTML with 403', html(403), 'unreachable', /VAULT_ADDR answered 403 without JSON/],
      ['half of a JSON text', half, 'unreachable', /VAULT_ADDR answered 200 without JSON/],
      ['JSON that is not an object', json(200, 'canary'), 'unreachable', /answered 200 without JSON/],
      ['HTML of a gateway', html(502), 'unreachable', /^Vault answered 502\. Check Vault\.$/],
      ['an internal error', errors(500, 'canary'), 'unreachable', /^Vault answered 500\. Check Vault\.$/],
      ['too many requests', errors(429, 'canary'), 'unreachable', /^Vault answered 429\. Check Vault\.$/],
      ['a seal', errors(503, 'Vault is sealed'), 'sealed', /is sealed\. Unseal it: bao operator unseal$/],
      ['an end in the middle', cutOff, 'unreachable', /^Vault is unavailable \(\w+\)\. Check Vault/],
      ['a closed connection', hangUp, 'unreachable', /^Vault is unavailable \(\w+\)\. Check Vault/],
    ])('%s is an error that says what to do', async (_what, answer, fault, message) => {
      const vault = await startVault({ [call]: answer })

      const outcome = await open(vault)
        .versions()
        .catch((error: unknown) => error)

      expect(outcome).toEqual(failure(fault, message))
      expect(JSON.stringify(outcome)).not.toMatch(/canary|the token/)
      expect(vault.calls().filter((other) => other === call)).toHaveLength(fault === 'unreachable' ? 3 : 1)
    })
  })

  test('is forgotten when Vault is healthy again', async () => {
    const vault = await startVault({ [list]: html(502) })
    const source = open(vault)
    await expect(source.versions()).rejects.toEqual(failure('unreachable', /502/))

    vault.answers[list] = listed({ 1: made(1) })

    expect(await values(source)).toEqual(['the first'])
  })

  test('a refused connection is an error that says what to do', async () => {
    const vault = await startVault()
    const source = open(vault)
    await new Promise((resolve) => servers.pop()?.close(resolve))

    await expect(source.versions()).rejects.toEqual(
      failure(
        'unreachable',
        /^Vault is unavailable \(ECONNREFUSED\)\. Check Vault, or correct VAULT_ADDR\.$/,
      ),
    )
  })
})

describe('a call that never ends [E5]', () => {
  const silence: Answer = () => {}
  const slow: Answer = (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.write('{"data":')
  }

  test('is given up in time, and its connection is closed', async () => {
    shorterLimitMs = 200
    const before = performance.now()

    // Either the headers never come, or the end of the body.
    const cases = [lookup, list, read].flatMap((call) => [silence, slow].map((answer) => ({ call, answer })))
    const outcomes = cases.map(async ({ call, answer }) => {
      let closed = 0
      const vault = await startVault({
        [call]: (request, response) => {
          response.on('close', () => closed++)
          answer(request, response)
        },
      })
      const error = await open(vault)
        .versions()
        .catch((error: unknown) => error)
      // The server notices the end a moment later.
      for (let i = 0; closed < 3 && i < 100; i++) await delay(20)
      return { error, tries: vault.calls().filter((other) => other === call).length, closed }
    })

    const error = failure('unreachable', /did not answer in 3 s/)
    expect(await Promise.all(outcomes)).toEqual(cases.map(() => ({ error, tries: 3, closed: 3 })))
    expect(performance.now() - before).toBeLessThan(3_000)
  })

  test('and writes is given up in time, and not tried again', async () => {
    const vault = await startVault({ [write]: silence })
    const source = open(vault)
    await source.versions()
    shorterLimitMs = 200

    await expect(source.rotate?.('the new')).rejects.toEqual(failure('unreachable', /did not answer in 3 s/))

    expect(vault.calls().filter((call) => call === write)).toHaveLength(1)
  })
})

describe('a redirect is not followed [E5]', () => {
  const redirectTo =
    (address: string, status: number): Answer =>
    ({ url = '' }, response) =>
      response.writeHead(status, { location: address + url }).end()

  test.each([301, 302, 303, 307, 308])('%i: the token stays here', async (status) => {
    const elsewhere = await startVault()
    const redirect = redirectTo(elsewhere.address, status)
    const vault = await startVault(Object.fromEntries(Object.keys(healthy).map((call) => [call, redirect])))

    await expect(open(vault).versions()).rejects.toEqual(
      failure('unreachable', new RegExp(`redirect \\(${status}\\)\\. Set VAULT_ADDR to the active node`)),
    )
    await expect(open(vault, byRole).versions()).rejects.toMatchObject({ name: 'SourceError' })

    expect(elsewhere.asked).toEqual([])
  })

  test('of a write: the secret stays here', async () => {
    const elsewhere = await startVault()
    const vault = await startVault({ [write]: redirectTo(elsewhere.address, 307) })

    await expect(open(vault).rotate?.('the new')).rejects.toEqual(failure('unreachable', /redirect \(307\)/))

    expect(elsewhere.asked).toEqual([])
  })
})

describe('a refusal [E4]', () => {
  test.each<[call: string, asked: string[]]>([
    [list, [lookup, list]],
    [read, [lookup, list, read]],
    [write, [lookup, list, read, write]],
  ])('of %s with a new token is reported at once, with what to grant', async (call, asked) => {
    const vault = await startVault({ [call]: forbidden })
    const source = open(vault)

    await expect(call === write ? source.rotate?.('the new') : source.versions()).rejects.toEqual(
      failure(
        'denied',
        /Grant the token's policy read on secret\/metadata\/app and secret\/data\/app \(to rotate, also update\)/,
      ),
    )
    expect(vault.calls()).toEqual(asked)
  })

  test('to say how long a token lives does not stop the use of the token', async () => {
    const vault = await startVault({ [lookup]: forbidden })

    expect(await values(open(vault))).toEqual(['the first'])
  })

  test('of a token makes the server read its file again', async () => {
    const token = inFile('token', 'the old token\n')
    const vault = await startVault({ [list]: onlyFor('the new token', listed({ 1: made(1) })) })
    const source = open(vault, { VAULT_TOKEN: token.reference })
    await expect(source.versions()).rejects.toEqual(failure('denied', /or renew the token/))

    token.write('the new token\n')
    now += 60_000

    expect(await values(source)).toEqual(['the first'])
    expect(vault.asked.at(-1)?.headers['x-vault-token']).toBe('the new token')
  })

  test('of a token that was renewed a moment before leads to a new login [E5]', async () => {
    const lease = (client_token: string) =>
      json(200, { auth: { client_token, lease_duration: 9, renewable: true } })
    const vault = await startVault({
      [login]: lease('the first token'),
      'POST auth/token/renew-self': lease('the first token'),
    })
    const source = open(vault, byRole)
    await source.versions()
    now += 7_000
    await source.versions() // Renews the token, which will reach its maximum before the new life ends.

    vault.answers[login] = lease('the second token')
    vault.answers[list] = onlyFor('the second token', listed({ 1: made(1) }))
    now += 500

    expect(await values(source)).toEqual(['the first'])
  })

  test('of a token and of the next one ends after the next one', async () => {
    const vault = await startVault()
    const source = open(vault)
    await source.versions()
    vault.answers[list] = forbidden
    vault.asked.length = 0
    now += 60_000

    await expect(source.versions()).rejects.toEqual(failure('denied', /Grant the token's policy/))

    expect(vault.calls()).toEqual([list, lookup, list])
  })

  describe('of an AppRole login', () => {
    const refused = failure(
      'denied',
      /refused the AppRole login \(400\)\. Issue a new secret id: bao write -f auth\/approle/,
    )
    async function start(settings: Settings = {}) {
      const vault = await startVault({ [login]: errors(400, 'invalid role or secret ID') })
      const openSource = sourcesOf(environment(vault, { ...byRole, ...settings }))
      const source = openSource('ref+vault://secret/app#/KEY')
      const logins = () => vault.calls().filter((call) => call === login).length
      return { vault, source, openSource, logins }
    }

    test('is tried again every four minutes, under five times in 15 minutes', async () => {
      const { vault, source, logins } = await start()
      const times: number[] = []
      for (const end = now + 3_600_000; now < end; now += 10_000) {
        const before = logins()
        await expect(source.versions()).rejects.toEqual(refused)
        if (logins() > before) times.push(now)
      }

      expect(times.map((time) => time - (times[0] ?? 0))).toEqual(
        Array.from({ length: 15 }, (_, index) => index * 240_000),
      )
      expect(new Set(vault.calls())).toEqual(new Set([login]))
      expect(vault.asked[0]).toMatchObject({ body: { role_id: 'the role', secret_id: 'the secret id' } })
      expect(vault.asked[0]?.headers).not.toHaveProperty('x-vault-token')
    })

    test('is tried again at once with a new credential', async () => {
      const secretId = inFile('secret-id', 'an old one\n')
      const { vault, source, logins } = await start({ VAULT_SECRET_ID: secretId.reference })
      await expect(source.versions()).rejects.toEqual(refused)
      await expect(source.versions()).rejects.toEqual(refused)
      expect(logins()).toBe(1)

      secretId.write('a new one\n')
      vault.answers[login] = healthy[login] as Answer
      now += 1

      expect(await values(source)).toEqual(['the first'])
      expect(vault.asked.filter(({ call }) => call === login).at(-1)).toMatchObject({
        body: { secret_id: 'a new one' },
      })
    })

    test('is tried again at once on request', async () => {
      const { vault, source, openSource, logins } = await start()
      await expect(source.versions()).rejects.toEqual(refused)
      vault.answers[login] = healthy[login] as Answer
      await expect(source.versions()).rejects.toEqual(refused)
      expect(logins()).toBe(1)

      await openSource.retryLogins?.()

      expect(await values(source)).toEqual(['the first'])
      expect(logins()).toBe(2)
    })
  })
})

describe('what is not there [E4]', () => {
  test.each([
    ['a path', errors(404)],
    ['a mount', errors(404, 'no handler for route "secret/metadata/app". route entry not found.')],
  ])('%s is absent, with the command that creates the secret', async (_what, answer) => {
    const vault = await startVault({ [list]: answer })

    await expect(open(vault).versions()).rejects.toEqual(
      failure(
        'absent',
        /is not in Vault\. Create it, on an engine of KV version 2: bao kv put -mount=secret app FIELD=…$/,
      ),
    )
  })

  const gone = json(404, { data: { data: null, metadata: { deletion_time: '2026-01-02T00:00:00Z' } } })

  test('a version that was deleted after the list is left out [E3]', async () => {
    const vault = await startVault({
      [list]: listed({ 1: made(1), 2: made(2) }),
      'GET secret/data/app?version=2': gone,
    })

    expect(await values(open(vault))).toEqual(['the first'])
  })

  test('a deleted version is not used, and one with a later deletion time still is [E3]', async () => {
    const vault = await startVault({
      [list]: listed({
        1: made(1),
        2: made(2, { deletion_time: '2026-01-03T00:00:00Z' }),
        3: made(3, { deletion_time: new Date(now + 3_600_000).toISOString() }),
        4: made(4, { destroyed: true }),
        5: made(5, { destroyed: true, deletion_time: '2026-01-06T00:00:00Z' }),
      }),
      'GET secret/data/app?version=3': content('the third'),
    })
    const source = open(vault)

    expect((await source.history()).map(({ id, state }) => `${id} ${state}`)).toEqual([
      '5 destroyed',
      '4 destroyed',
      '3 enabled',
      '2 disabled',
      '1 enabled',
    ])
    expect(await values(source)).toEqual(['the third', 'the first'])
  })

  test('a secret without versions is not an error', async () => {
    expect(await values(open(await startVault({ [list]: json(200, { data: {} }) })))).toEqual([])
  })
})

describe('settings', () => {
  const nowhere = { VAULT_ADDR: 'http://127.0.0.1:9' }
  const credentials = /Set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID/
  const tls = { VAULT_ADDR: 'https://127.0.0.1:9', VAULT_TOKEN: 'x' }

  test.each<[what: string, Settings, message: RegExp]>([
    ['no address', { VAULT_TOKEN: 'x' }, /Set VAULT_ADDR, such as https:\/\//],
    ['an empty address', { VAULT_ADDR: '', VAULT_TOKEN: 'x' }, /Set VAULT_ADDR, such as https:\/\//],
    ['no credentials', nowhere, credentials],
    ['only a role id', { ...nowhere, VAULT_ROLE_ID: 'x' }, credentials],
    ['only a secret id', { ...nowhere, VAULT_SECRET_ID: 'x' }, credentials],
    ['a token over two lines', { ...nowhere, VAULT_TOKEN: 'x\ny' }, /line breaks .* Write it again/],
    [
      'a missing file of authorities',
      { ...tls, VAULT_CACERT: join(root, 'nowhere.pem') },
      /VAULT_CACERT cannot be read \(ENOENT\)\. Correct its path/,
    ],
    [
      'a folder of authorities',
      { ...tls, VAULT_CACERT: root },
      /VAULT_CACERT cannot be read \(EISDIR\)\. Correct its path/,
    ],
  ])('with %s are refused, with what to set', async (_what, settings, message) => {
    await expect(sourcesOf(settings)('ref+vault://secret/app#/KEY').versions()).rejects.toEqual(
      failure('malformed', message),
    )
  })

  test.each(['VAULT_TOKEN', 'VAULT_SECRET_ID'])(
    'with %s in another store are refused, and Vault is not asked',
    async (name) => {
      const vault = await startVault()
      const settings = { ...(name === 'VAULT_SECRET_ID' && byRole), [name]: 'ref+awssecrets://canary' }

      const outcome = open(vault, settings).versions()

      await expect(outcome).rejects.toEqual(failure('malformed', /must be a value or ref\+file:\/\//))
      await expect(outcome).rejects.not.toEqual(failure('malformed', /canary/))
      expect(vault.asked).toEqual([])
    },
  )

  test('a token in a file is used without its newline', async () => {
    const vault = await startVault()

    await open(vault, { VAULT_TOKEN: inFile('mounted-token', 'the mounted token\n').reference }).versions()

    expect(vault.asked.map(({ headers }) => headers['x-vault-token'])).toEqual(
      Array(3).fill('the mounted token'),
    )
  })

  test('a missing token file is absent, not denied, and found later', async () => {
    const token = inFile('late-token')
    const source = open(await startVault(), { VAULT_TOKEN: token.reference })
    await expect(source.versions()).rejects.toEqual(failure('absent', /late-token/))

    token.write('the token')

    expect(await values(source)).toEqual(['the first'])
  })

  test.each([['team/a'], [undefined]])('namespace %s: every call names it', async (VAULT_NAMESPACE) => {
    const vault = await startVault()

    await open(vault, { ...byRole, VAULT_NAMESPACE }).rotate?.('the new')

    expect(vault.calls()).toEqual([login, list, read, write])
    for (const { headers } of vault.asked) expect(headers['x-vault-namespace']).toBe(VAULT_NAMESPACE)
  })

  test('an address may end with a slash', async () => {
    const vault = await startVault()

    expect(await values(open(vault, { VAULT_ADDR: `${vault.address}/` }))).toEqual(['the first'])
  })
})

describe('a place', () => {
  test.each(['secret', 'secret/', 'secret/app/', '/app', '/secret/app', 'secret/../app', 'secret/./app'])(
    '%s is refused, because it needs a mount and a path',
    async (place) => {
      const vault = await startVault()

      await expect(open(vault, {}, `ref+vault://${place}#/KEY`).versions()).rejects.toEqual(
        failure('malformed', /ref\+vault:\/\/MOUNT\/PATH#\/FIELD/),
      )
      expect(vault.asked).toEqual([])
    },
  )

  test.each([
    ['team/app/jwt', 'team/metadata/app/jwt'],
    ['secret/äpp', 'secret/metadata/%C3%A4pp'],
    ['secret/50%', 'secret/metadata/50%25'],
    ['secret/a&b=c', 'secret/metadata/a%26b%3Dc'],
    ['secret/%2e%2e', 'secret/metadata/%252e%252e'],
    ['secret/a:b@c', 'secret/metadata/a%3Ab%40c'],
    ['sécret/app', 's%C3%A9cret/metadata/app'],
  ])('%s has the path %s', async (place, path) => {
    const vault = await startVault({
      [`GET ${path}`]: listed({ 1: made(1) }),
      [`GET ${path.replace('metadata', 'data')}?version=1`]: content('the first'),
    })

    expect(await values(open(vault, {}, `ref+vault://${place}#/KEY`))).toEqual(['the first'])
  })
})

describe('a write', () => {
  const newest = {
    1: made(1),
    2: made(2),
    9: made(2),
    10: made(2, { deletion_time: '2026-01-03T00:00:00Z' }),
  }

  test.each<[what: string, Record<string, Version>, cas: number]>([
    ['the only version', { 1: made(1) }, 1],
    ['a deleted version of the same second as others', newest, 10],
    ['a destroyed version', { 1: made(1), 2: made(2, { destroyed: true }) }, 2],
    ['no version', {}, 0],
  ])('checks that the newest is still %s', async (_what, versions, cas) => {
    const vault = await startVault({
      [list]: listed(versions),
      'GET secret/data/app?version=2': content('x'),
      'GET secret/data/app?version=9': content('y'),
    })

    await open(vault).rotate?.('the new')

    const { body } = vault.asked.find(({ call }) => call === write) ?? {}
    expect(body).toMatchObject({ data: { KEY: 'the new' }, options: { cas } })
  })

  test('keeps the other fields', async () => {
    const vault = await startVault()

    await open(vault).rotate?.('the new')

    expect(vault.asked.at(-1)).toMatchObject({
      call: write,
      body: { data: { KEY: 'the new', OTHER: 'other' } },
    })
  })

  test.each<[what: string, error: string, SourceFault, message: RegExp]>([
    [
      'over a version that another process wrote in the meantime',
      'check-and-set parameter did not match the current version',
      'conflict',
      /wrote a new version in the meantime\. Check that version/,
    ],
    ['that Vault refuses', 'canary', 'malformed', /^Vault refused the request \(400\)/],
  ])('%s is not tried again, and shows nothing of the answer', async (_what, error, fault, message) => {
    const vault = await startVault({ [write]: errors(400, error) })

    const outcome = open(vault).rotate?.('the new')

    await expect(outcome).rejects.toEqual(failure(fault, message))
    await expect(outcome).rejects.not.toEqual(failure(fault, /canary/))
    expect(vault.calls().filter((call) => call === write)).toHaveLength(1)
  })
})

describe('the store itself', () => {
  test('gives up when its signal is aborted', async () => {
    const vault = await startVault({ [list]: () => {} })
    const connected = await vaultKind.connect({
      env: environment(vault),
      clock: () => now,
      delay: shorterDelay,
      importSdk,
    })

    await expect(connected('secret/app').list(AbortSignal.timeout(50))).rejects.toEqual(
      failure('unreachable', /^Vault is unavailable/),
    )
  })

  test('logs in once for all concurrent reads of all places', async () => {
    const vault = await startVault({
      'GET secret/metadata/other': listed({ 1: made(1) }),
      'GET secret/data/other?version=1': content('of the other'),
    })
    const openSource = sourcesOf(environment(vault, byRole))
    const [one, other] = ['app', 'other'].map((path) => openSource(`ref+vault://secret/${path}#/KEY`))

    await Promise.all([one?.versions(), other?.versions()])

    expect(vault.calls().filter((call) => call === login)).toHaveLength(1)
    expect(vault.asked.at(-1)?.headers['x-vault-token']).toBe('of the role')
  })
})

const isOpensslThere = spawnSync('openssl', ['version']).status === 0
const describeTls = isOpensslThere || process.env.CI ? describe : describe.skip

describeTls('TLS [E5]', () => {
  const path = (name: string) => join(root, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe', cwd: root })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']

  /** Makes a certificate that signs itself. Returns what a server needs. */
  function selfSigned(name: string, host: string) {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.pem`]
    openssl('req', '-x509', ...key, ...files, '-subj', `/CN=${name}`, '-addext', `subjectAltName=${host}`)
    return { key: readFileSync(path(`${name}.key`), 'utf8'), cert: readFileSync(path(`${name}.pem`), 'utf8') }
  }

  let local: { key: string; cert: string }
  beforeAll(() => {
    local = selfSigned('local', 'IP:127.0.0.1')
    selfSigned('another', 'IP:127.0.0.1')
  })

  test('a certificate of a known authority is accepted', async () => {
    const vault = await startVault({}, local)

    expect(await values(open(vault, { VAULT_CACERT: path('local.pem') }))).toEqual(['the first'])
  })

  test.each<[what: string, host: string, cacert: string | undefined, message: RegExp]>([
    [
      'an unknown authority',
      'IP:127.0.0.1',
      undefined,
      /DEPTH_ZERO_SELF_SIGNED_CERT.*Set VAULT_CACERT to the file of the authority/,
    ],
    ['another authority', 'IP:127.0.0.1', 'another.pem', /Set VAULT_CACERT/],
    ['another host', 'DNS:vault.example.com', 'elsewhere.pem', /ERR_TLS_CERT_ALTNAME_INVALID/],
  ])('a certificate of %s is refused, and nothing is sent', async (_what, host, cacert, message) => {
    const vault = await startVault({}, host.startsWith('IP') ? local : selfSigned('elsewhere', host))

    await expect(open(vault, cacert ? { VAULT_CACERT: path(cacert) } : {}).versions()).rejects.toEqual(
      failure('unreachable', message),
    )
    expect(vault.asked).toEqual([])
  })

  test('a server without TLS is refused', async () => {
    const vault = await startVault()

    await expect(
      open(vault, { VAULT_ADDR: vault.address.replace('http:', 'https:') }).versions(),
    ).rejects.toEqual(failure('unreachable', /correct VAULT_ADDR/i))
  })
})
