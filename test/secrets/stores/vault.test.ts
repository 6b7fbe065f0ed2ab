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
import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { SourceFault } from '../../../src/secrets/source-error.ts'
import type { SecretStore } from '../../../src/secrets/stores/secret-store.ts'

// What the real one does is tested against it, in `test/proof/stores`. Here: failures it does not show at will.

// Pauses are shorter than they really are, and for calls that never end the time limit is too.
const limitMs = 3_000
let shorterLimitMs = limitMs
jest.unstable_mockModule('node:timers/promises', () => ({
  setTimeout: (ms: number, ...more: [unknown, object]) =>
    delay(ms === limitMs ? shorterLimitMs : ms / 20, ...more),
}))
const { createSources } = await import('../../../src/secrets/sources.ts')
const { connectVault } = await import('../../../src/secrets/stores/vault/vault.ts')

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

/** What a Vault with one secret of one version, `secret/app`, answers. */
const healthy: Record<string, Answer> = {
  'GET auth/token/lookup-self': json(200, { data: { ttl: 0, renewable: false } }),
  'POST auth/approle/login': json(200, {
    auth: { client_token: 'of the role', lease_duration: 3600, renewable: true },
  }),
  'GET secret/metadata/app': listed({ 1: made(1) }),
  'GET secret/data/app?version=1': content('the first'),
  'POST secret/data/app': json(200, { data: { version: 2 } }),
}
const list = 'GET secret/metadata/app'
const read = 'GET secret/data/app?version=1'
const write = 'POST secret/data/app'

const servers: Server[] = []
afterEach(async () => {
  jest.restoreAllMocks()
  shorterLimitMs = limitMs
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

/** Stands in for Vault. `answers` are those that differ from a healthy one's; `asked` is what was asked of it. */
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
const open = (vault: Vault, more?: Settings, reference = 'ref+vault://secret/app#/KEY') =>
  createSources(environment(vault, more))(reference)
const byRole = { VAULT_TOKEN: undefined, VAULT_ROLE_ID: 'the role', VAULT_SECRET_ID: 'the secret id' }
const values = async (source: ReturnType<typeof open>) => (await source.versions()).map(({ value }) => value)

const root = mkdtempSync(join(tmpdir(), 'vault-'))
afterAll(() => rmSync(root, { recursive: true }))

const failure = (fault: SourceFault, message: RegExp) =>
  expect.objectContaining({ name: 'SourceError', fault, message: expect.stringMatching(message) })

test('a healthy one is read, with the token', async () => {
  const vault = await startVault()

  expect(await open(vault).versions()).toEqual([
    {
      value: 'the first',
      source: 'ref+vault://secret/app#/KEY',
      id: '1',
      createdAt: Date.parse('2026-01-01T00:00:00.123Z'),
    },
  ])
  expect(vault.calls()).toEqual(['GET auth/token/lookup-self', list, read])
  for (const { headers } of vault.asked)
    expect(headers).toMatchObject({ 'x-vault-token': 'the token', 'x-vault-request': 'true' })
})

describe('E4 an answer that is none of Vault', () => {
  const half: Answer = (_request, response) =>
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"data":{"versions":{"1":{"creat')
  const cutOff: Answer = (_request, response) => {
    response.writeHead(200, { 'content-length': 1000 })
    response.write('{"data":', () => response.destroy())
  }
  const hangUp: Answer = (request) => request.socket.destroy()

  describe.each(['GET auth/token/lookup-self', list, read])('to %s', (call) => {
    test.each<[what: string, Answer, SourceFault, message: RegExp]>([
      ['HTML', html(200), 'unreachable', /VAULT_ADDR answers 200 without JSON; correct it/],
      ['HTML of what is not there', html(404), 'unreachable', /VAULT_ADDR answers 404 without JSON/],
      ['HTML that refuses', html(403), 'unreachable', /VAULT_ADDR answers 403 without JSON/],
      ['half a JSON', half, 'unreachable', /VAULT_ADDR answers 200 without JSON/],
      ['a JSON that is no object', json(200, 'canary'), 'unreachable', /VAULT_ADDR answers 200 without JSON/],
      ['HTML of a gateway', html(502), 'unreachable', /answers 502; look after it/],
      ['an internal error', errors(500, 'canary'), 'unreachable', /answers 500; look after it/],
      ['too many requests', errors(429, 'canary'), 'unreachable', /answers 429; look after it/],
      ['a seal', errors(503, 'Vault is sealed'), 'sealed', /is sealed: bao operator unseal/],
      ['a stop halfway', cutOff, 'unreachable', /cannot be reached \(\w+\); look after it/],
      ['a hang-up', hangUp, 'unreachable', /cannot be reached \(\w+\); look after it/],
    ])('%s', async (_what, answer, fault, message) => {
      const vault = await startVault({ [call]: answer })

      const outcome = await open(vault)
        .versions()
        .catch((error: unknown) => error)

      expect(outcome).toEqual(failure(fault, message))
      expect(JSON.stringify(outcome)).not.toMatch(/canary|the token/)
      expect(vault.calls().filter((other) => other === call)).toHaveLength(fault === 'unreachable' ? 3 : 1)
    })
  })

  test('and then is one: read as if nothing had been', async () => {
    const vault = await startVault({ [list]: html(502) })
    const source = open(vault)
    await expect(source.versions()).rejects.toEqual(failure('unreachable', /502/))

    vault.answers[list] = listed({ 1: made(1) })

    expect(await values(source)).toEqual(['the first'])
  })

  test('nobody listens there', async () => {
    const vault = await startVault()
    const source = open(vault)
    await new Promise((resolve) => servers.pop()?.close(resolve))

    await expect(source.versions()).rejects.toEqual(
      failure('unreachable', /cannot be reached \(ECONNREFUSED\); look after it, or correct VAULT_ADDR/),
    )
  })
})

describe('E5 an answer that never comes', () => {
  const silence: Answer = () => {}
  const slow: Answer = (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.write('{"data":')
  }

  test('is given up in time, and its connection closed', async () => {
    shorterLimitMs = 200
    const before = performance.now()

    // The headers, or the end of the body.
    const cases = [
      ['GET auth/token/lookup-self', silence],
      ['GET auth/token/lookup-self', slow],
      [list, silence],
      [list, slow],
      [read, silence],
      [read, slow],
    ] as const
    const outcomes = cases.map(async ([call, answer]) => {
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
      // The other end hears of it when it gets to it.
      for (let i = 0; closed < 3 && i < 100; i++) await delay(20)
      return { error, tries: vault.calls().filter((other) => other === call).length, closed }
    })

    const error = failure('unreachable', /did not answer in 3 s. Check the store/)
    expect(await Promise.all(outcomes)).toEqual(cases.map(() => ({ error, tries: 3, closed: 3 })))
    expect(performance.now() - before).toBeLessThan(3_000)
  })

  test('to a write: is given up in time, and not tried again', async () => {
    const vault = await startVault({ [write]: silence })
    const source = open(vault)
    await source.versions()
    shorterLimitMs = 200

    await expect(source.rotate?.('the new')).rejects.toEqual(failure('unreachable', /did not answer in 3 s/))

    expect(vault.calls().filter((call) => call === write)).toHaveLength(1)
  })
})

describe('E5 a redirect', () => {
  test.each([301, 302, 303, 307, 308])('%i is not followed: the token stays here', async (status) => {
    const elsewhere = await startVault()
    const redirect: Answer = ({ url = '' }, response) =>
      response.writeHead(status, { location: elsewhere.address + url }).end()
    const vault = await startVault(Object.fromEntries(Object.keys(healthy).map((call) => [call, redirect])))

    await expect(open(vault).versions()).rejects.toEqual(
      failure('unreachable', new RegExp(`${status}; set it to the active node`)),
    )
    await expect(open(vault, byRole).versions()).rejects.toMatchObject({ name: 'SourceError' })

    expect(elsewhere.asked).toEqual([])
  })

  test('of a write is not followed: the secret stays here', async () => {
    const elsewhere = await startVault()
    const vault = await startVault({
      [write]: ({ url = '' }, response) =>
        response.writeHead(307, { location: elsewhere.address + url }).end(),
    })

    await expect(open(vault).rotate?.('the new')).rejects.toEqual(failure('unreachable', /307/))

    expect(elsewhere.asked).toEqual([])
  })
})

describe('E4 a refusal', () => {
  test('of a token just got is told at once, with the paths that a policy must grant', async () => {
    const vault = await startVault({ [list]: forbidden })

    await expect(open(vault).versions()).rejects.toEqual(
      failure(
        'denied',
        /policy must grant read on secret\/metadata\/app and secret\/data\/app \(update too, to rotate\)/,
      ),
    )
    expect(vault.calls()).toEqual(['GET auth/token/lookup-self', list])
  })

  test('of reading what may be listed is one of the place, as an outage is', async () => {
    const vault = await startVault({ [read]: forbidden })

    await expect(open(vault).versions()).rejects.toEqual(failure('denied', /secret\/data\/app/))
  })

  test('of writing only says what to grant', async () => {
    const vault = await startVault({ [write]: forbidden })

    await expect(open(vault).rotate?.('the new')).rejects.toEqual(failure('denied', /update too, to rotate/))
  })

  test('to tell how long a token lives does not keep it from being used', async () => {
    const vault = await startVault({ 'GET auth/token/lookup-self': forbidden })

    expect(await values(open(vault))).toEqual(['the first'])
  })

  test('of a token whose file has a new one by now: read again, and asked again', async () => {
    const file = join(root, 'token')
    writeFileSync(file, 'the old token\n')
    const vault = await startVault({
      [list]: (request, response) => {
        const isNew = request.headers['x-vault-token'] === 'the new token'
        ;(isNew ? listed({ 1: made(1) }) : forbidden)(request, response)
      },
    })
    const now = Date.now()
    const source = open(vault, { VAULT_TOKEN: `ref+file://${file}` })
    await expect(source.versions()).rejects.toEqual(failure('denied', /live one/))

    writeFileSync(file, 'the new token\n')
    jest.spyOn(Date, 'now').mockReturnValue(now + 60_000)

    expect(await values(source)).toEqual(['the first'])
    expect(vault.asked.at(-1)?.headers['x-vault-token']).toBe('the new token')
  })

  test('E5 of a token that was renewed a moment ago, and died at its maximum: a new login', async () => {
    const lease = (client_token: string) =>
      json(200, { auth: { client_token, lease_duration: 9, renewable: true } })
    const vault = await startVault({
      'POST auth/approle/login': lease('the first token'),
      'POST auth/token/renew-self': lease('the first token'),
    })
    const start = Date.now()
    const now = jest.spyOn(Date, 'now').mockReturnValue(start)
    const source = open(vault, byRole)
    await source.versions()
    now.mockReturnValue(start + 7_000)
    await source.versions() // It is renewed, and Vault says for how long again.

    vault.answers['POST auth/approle/login'] = lease('the second token')
    vault.answers[list] = (request, response) => {
      const isNew = request.headers['x-vault-token'] === 'the second token'
      ;(isNew ? listed({ 1: made(1) }) : forbidden)(request, response)
    }
    now.mockReturnValue(start + 7_500)

    expect(await values(source)).toEqual(['the first'])
  })

  test('of a token that is refused with the new one too ends after that one', async () => {
    const vault = await startVault()
    const now = Date.now()
    const source = open(vault)
    await source.versions()
    vault.answers[list] = forbidden
    vault.asked.length = 0
    jest.spyOn(Date, 'now').mockReturnValue(now + 60_000)

    await expect(source.versions()).rejects.toEqual(failure('denied', /policy must grant/))

    expect(vault.calls()).toEqual([list, 'GET auth/token/lookup-self', list])
  })

  describe('of an AppRole login', () => {
    const login = 'POST auth/approle/login'
    const refused = failure(
      'denied',
      /refuses the AppRole login \(400\): issue a new secret id, bao write -f auth\/approle/,
    )
    let now = 0
    async function start(settings: Settings = {}) {
      now = 1_000_000
      const vault = await startVault({ [login]: errors(400, 'invalid role or secret ID') })
      const openSource = createSources(environment(vault, { ...byRole, ...settings }), { clock: () => now })
      const source = openSource('ref+vault://secret/app#/KEY')
      return {
        vault,
        source,
        openSource,
        logins: () => vault.calls().filter((call) => call === login).length,
      }
    }

    test('is tried again every four minutes: under five times in 15 minutes, at any interval', async () => {
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
      const within15Minutes = (time: number) =>
        times.filter((other) => other >= time && other <= time + 900_000)
      expect(Math.max(...times.map((time) => within15Minutes(time).length))).toBe(4)
      expect(new Set(vault.calls())).toEqual(new Set([login]))
      expect(vault.asked[0]).toMatchObject({ body: { role_id: 'the role', secret_id: 'the secret id' } })
      expect(vault.asked[0]?.headers).not.toHaveProperty('x-vault-token')
    })

    test('is tried again at once with a new credential', async () => {
      const file = join(root, 'secret-id')
      writeFileSync(file, 'an old one\n')
      const { vault, source, logins } = await start({ VAULT_SECRET_ID: `ref+file://${file}` })
      await expect(source.versions()).rejects.toEqual(refused)
      await expect(source.versions()).rejects.toEqual(refused)
      expect(logins()).toBe(1)

      writeFileSync(file, 'a new one\n')
      vault.answers[login] = healthy[login] as Answer
      now += 1

      expect(await values(source)).toEqual(['the first'])
      expect(vault.asked.filter(({ call }) => call === login).at(-1)).toMatchObject({
        body: { secret_id: 'a new one' },
      })
    })

    test('is tried again at once where that is asked for', async () => {
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

describe('E4 what is not there', () => {
  test.each([
    ['a path', errors(404)],
    ['a mount', errors(404, 'no handler for route "secret/metadata/app". route entry not found.')],
  ])('%s is absent, with the command that makes it', async (_what, answer) => {
    const vault = await startVault({ [list]: answer })

    await expect(open(vault).versions()).rejects.toEqual(
      failure(
        'absent',
        /is not in Vault: bao kv put -mount=secret app FIELD=…, on an engine of KV version 2/,
      ),
    )
  })

  const gone = json(404, { data: { data: null, metadata: { deletion_time: '2026-01-02T00:00:00Z' } } })

  test('E3 a version that was deleted since it was listed is left out', async () => {
    const vault = await startVault({
      [list]: listed({ 1: made(1), 2: made(2) }),
      'GET secret/data/app?version=2': gone,
    })

    expect(await values(open(vault))).toEqual(['the first'])
  })

  test('E3 of versions it is told which are in use: a deleted one is not, one that is to be deleted still is', async () => {
    const vault = await startVault({
      [list]: listed({
        1: made(1),
        2: made(2, { deletion_time: '2026-01-03T00:00:00Z' }),
        3: made(3, { deletion_time: new Date(Date.now() + 3_600_000).toISOString() }),
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

  test('no version at all is no failure', async () => {
    expect(await values(open(await startVault({ [list]: json(200, { data: {} }) })))).toEqual([])
  })
})

describe('settings', () => {
  const reference = 'ref+vault://secret/app#/KEY'

  test.each<[what: string, Settings, message: RegExp]>([
    ['no address', { VAULT_TOKEN: 'x' }, /set VAULT_ADDR, https:\/\//],
    ['an empty address', { VAULT_ADDR: '', VAULT_TOKEN: 'x' }, /set VAULT_ADDR, https:\/\//],
    [
      'no credentials',
      { VAULT_ADDR: 'http://127.0.0.1:9' },
      /set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID/,
    ],
    [
      'a role id alone',
      { VAULT_ADDR: 'http://127.0.0.1:9', VAULT_ROLE_ID: 'x' },
      /set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID/,
    ],
    [
      'a secret id alone',
      { VAULT_ADDR: 'http://127.0.0.1:9', VAULT_SECRET_ID: 'x' },
      /set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID/,
    ],
    [
      'a missing file of authorities',
      { VAULT_ADDR: 'https://127.0.0.1:9', VAULT_TOKEN: 'x', VAULT_CACERT: join(root, 'nowhere.pem') },
      /VAULT_CACERT cannot be read \(ENOENT\); correct it/,
    ],
    [
      'a folder of authorities',
      { VAULT_ADDR: 'https://127.0.0.1:9', VAULT_TOKEN: 'x', VAULT_CACERT: root },
      /VAULT_CACERT cannot be read \(EISDIR\); correct it/,
    ],
  ])('that lack something say so: %s', async (_what, settings, message) => {
    await expect(createSources(settings)(reference).versions()).rejects.toEqual(failure('malformed', message))
  })

  test.each(['VAULT_TOKEN', 'VAULT_SECRET_ID'])(
    '%s in another store is refused, and Vault not asked',
    async (name) => {
      const vault = await startVault()
      const settings = { ...(name === 'VAULT_SECRET_ID' && byRole), [name]: 'ref+awssecrets://canary' }

      const outcome = open(vault, settings).versions()

      await expect(outcome).rejects.toEqual(failure('malformed', /a value or ref\+file:\/\/ only/))
      await expect(outcome).rejects.not.toEqual(failure('malformed', /canary/))
      expect(vault.asked).toEqual([])
    },
  )

  test('a token in a file is used without its newline', async () => {
    const file = join(root, 'mounted-token')
    writeFileSync(file, 'the mounted token\n')
    const vault = await startVault()

    await open(vault, { VAULT_TOKEN: `ref+file://${file}` }).versions()

    expect(vault.asked.map(({ headers }) => headers['x-vault-token'])).toEqual(
      Array(3).fill('the mounted token'),
    )
  })

  test('a file of a token that is missing is absent, not denied, and found once it is there', async () => {
    const file = join(root, 'late-token')
    const vault = await startVault()
    const source = open(vault, { VAULT_TOKEN: `ref+file://${file}` })
    await expect(source.versions()).rejects.toEqual(failure('absent', /file \/.*late-token is missing/))

    writeFileSync(file, 'the token')

    expect(await values(source)).toEqual(['the first'])
  })

  test('a namespace goes with every call, the login too', async () => {
    const vault = await startVault()

    const source = open(vault, { ...byRole, VAULT_NAMESPACE: 'team/a' })
    await source.rotate?.('the new')

    expect(vault.calls()).toEqual(expect.arrayContaining(['POST auth/approle/login', list, read, write]))
    expect(vault.asked.map(({ headers }) => headers['x-vault-namespace'])).toEqual(
      vault.asked.map(() => 'team/a'),
    )
  })

  test('without a namespace none is named', async () => {
    const vault = await startVault()

    await open(vault).versions()

    for (const { headers } of vault.asked) expect(headers).not.toHaveProperty('x-vault-namespace')
  })

  test('an address may end in a slash', async () => {
    const vault = await startVault()

    expect(await values(open(vault, { VAULT_ADDR: `${vault.address}/` }))).toEqual(['the first'])
  })
})

describe('a place', () => {
  test.each(['secret', 'secret/', 'secret/app/', '/app', '/secret/app'])(
    '%s is refused: it takes a mount and a path',
    async (place) => {
      const vault = await startVault()

      await expect(open(vault, {}, `ref+vault://${place}#/KEY`).versions()).rejects.toEqual(
        failure('malformed', /must be like ref\+vault:\/\/MOUNT\/PATH#\/FIELD/),
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
  ])('%s is asked for as %s', async (place, path) => {
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
  const second = {
    'GET secret/data/app?version=2': content('x'),
    'GET secret/data/app?version=9': content('y'),
  }

  test.each<[what: string, Record<string, Version>, cas: number]>([
    ['the only version', { 1: made(1) }, 1],
    ['a deleted one, of the same second as others', newest, 10],
    ['a destroyed one', { 1: made(1), 2: made(2, { destroyed: true }) }, 2],
    ['none', {}, 0],
  ])('checks that the newest is still %s', async (_what, versions, cas) => {
    const vault = await startVault({ [list]: listed(versions), ...second })

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

  test('over a version that somebody else wrote meanwhile is a conflict, and not tried again', async () => {
    const vault = await startVault({
      [write]: errors(400, 'check-and-set parameter did not match the current version'),
    })

    await expect(open(vault).rotate?.('the new')).rejects.toEqual(
      failure('conflict', /was written by somebody else meanwhile; look, and run it again/),
    )
    expect(vault.calls().filter((call) => call === write)).toHaveLength(1)
  })

  test('that is refused for another reason is malformed, and shows nothing of it', async () => {
    const vault = await startVault({ [write]: errors(400, 'canary') })

    const outcome = open(vault).rotate?.('the new')

    await expect(outcome).rejects.toEqual(failure('malformed', /refused by Vault with 400/))
    await expect(outcome).rejects.not.toEqual(failure('malformed', /canary/))
  })
})

describe('the store itself', () => {
  test('gives up when its signal is aborted', async () => {
    const vault = await startVault({ [list]: () => {} })
    const store: SecretStore = (await connectVault(environment(vault), Date.now))('secret/app')

    await expect(store.list(AbortSignal.timeout(50))).rejects.toEqual(
      failure('unreachable', /cannot be reached/),
    )
  })

  test('logs in once for all who ask at the same time, whatever the place', async () => {
    const vault = await startVault({
      'GET secret/metadata/other': listed({ 1: made(1) }),
      'GET secret/data/other?version=1': content('of the other'),
    })
    const openSource = createSources(environment(vault, byRole))
    const [one, other] = ['app', 'other'].map((path) => openSource(`ref+vault://secret/${path}#/KEY`))

    await Promise.all([one?.versions(), other?.versions()])

    expect(vault.calls().filter((call) => call.includes('login'))).toHaveLength(1)
    expect(vault.asked.at(-1)?.headers['x-vault-token']).toBe('of the role')
  })
})

const isOpensslThere = spawnSync('openssl', ['version']).status === 0
const describeTls = isOpensslThere || process.env.CI ? describe : describe.skip

describeTls('E5 TLS', () => {
  const path = (name: string) => join(root, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe', cwd: root })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']

  /** A certificate that signs itself; gives what a server needs. */
  function selfSigned(name: string, host: string) {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.pem`]
    openssl('req', '-x509', ...key, ...files, '-subj', `/CN=${name}`, '-addext', `subjectAltName=${host}`)
    return { key: readFileSync(path(`${name}.key`), 'utf8'), cert: readFileSync(path(`${name}.pem`), 'utf8') }
  }

  let local: { key: string; cert: string }
  beforeEach(() => {
    local ??= selfSigned('local', 'IP:127.0.0.1')
  })

  test('a certificate of an authority unknown is refused, and nothing sent; what to set', async () => {
    const vault = await startVault({}, local)

    await expect(open(vault).versions()).rejects.toEqual(
      failure('unreachable', /DEPTH_ZERO_SELF_SIGNED_CERT.*set VAULT_CACERT to the file of the authority/),
    )
    expect(vault.asked).toEqual([])
  })

  test('it is accepted with VAULT_CACERT', async () => {
    const vault = await startVault({}, local)

    expect(await values(open(vault, { VAULT_CACERT: path('local.pem') }))).toEqual(['the first'])
  })

  test('another authority does not do', async () => {
    selfSigned('another', 'IP:127.0.0.1')
    const vault = await startVault({}, local)

    await expect(open(vault, { VAULT_CACERT: path('another.pem') }).versions()).rejects.toEqual(
      failure('unreachable', /set VAULT_CACERT/),
    )
    expect(vault.asked).toEqual([])
  })

  test('a certificate of another host is refused, its authority known or not', async () => {
    const vault = await startVault({}, selfSigned('elsewhere', 'DNS:vault.example.com'))

    await expect(open(vault, { VAULT_CACERT: path('elsewhere.pem') }).versions()).rejects.toEqual(
      failure('unreachable', /ERR_TLS_CERT_ALTNAME_INVALID/),
    )
    expect(vault.asked).toEqual([])
  })

  test('a server that speaks none is refused', async () => {
    const vault = await startVault()

    await expect(
      open(vault, { VAULT_ADDR: vault.address.replace('http:', 'https:') }).versions(),
    ).rejects.toEqual(failure('unreachable', /correct VAULT_ADDR/))
  })
})
