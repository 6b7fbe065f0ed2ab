import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { AuthError } from '../../src/errors.ts'
import { delay } from '../../src/retry.ts'
import { newSecret } from '../../src/secrets/cli/generate.ts'
import type { KeyEvent } from '../../src/secrets/key-events.ts'
import { createLiveKeys, type LiveKeys, type TokenKeys } from '../../src/secrets/live-keys.ts'
import { type LoadedSecrets, openSecrets, type Secrets } from '../../src/secrets/load-secrets.ts'
import { createSources } from '../../src/secrets/sources.ts'

const reloadSeconds = 60
const maxStaleSeconds = 3600
const accessTokenSeconds = 900
const stagingMs = (reloadSeconds + 2) * 1000

const root = mkdtempSync(join(tmpdir(), 'keys-'))
afterAll(() => rmSync(root, { recursive: true }))

let now: number
let open: LiveKeys[]
beforeEach(() => {
  now = 1_700_000_000_000
  open = []
  // The file source dates what it sees by Date.now.
  jest.spyOn(Date, 'now').mockImplementation(() => now)
})
afterEach(() => {
  for (const keys of open) keys.close()
  jest.restoreAllMocks()
})

async function start(
  secrets: Secrets,
  settings: { maxStaleSeconds?: number; refreshTokenSeconds?: number } = {},
) {
  const events: KeyEvent[] = []
  const warnings: string[] = []
  const keys = await createLiveKeys({
    secrets,
    accessAlgorithm: 'HS256',
    reloadSeconds,
    maxStaleSeconds,
    accessTokenSeconds,
    refreshTokenSeconds: 604800,
    clock: () => now,
    delay,
    onEvent: (event) => events.push(event),
    onWarning: (warning) => warnings.push(warning),
    ...settings,
  })
  open.push(keys)
  const problems = () => events.filter(({ event }) => /refused|failed/.test(event))
  return { keys, events, warnings, problems }
}

/** Secrets in files of one folder, replaced in one step. */
function createFiles() {
  const folder = mkdtempSync(join(root, 'case-'))
  const path = (name: string) => join(folder, name)
  const write = (name: string, value: string) => {
    writeFileSync(path(`${name}.new`), value)
    renameSync(path(`${name}.new`), path(name))
  }
  const first = { access: newSecret(), refresh: newSecret() }
  write('access', first.access)
  write('refresh', first.refresh)
  return {
    ...first,
    path,
    write,
    remove: (name: string) => rmSync(path(name)),
    secrets: (previous?: string) =>
      openSecrets(
        {
          JWT_ACCESS_SECRET: `ref+file://${path('access')}`,
          JWT_ACCESS_SECRET_PREVIOUS: previous,
          JWT_REFRESH_SECRET: `ref+file://${path('refresh')}`,
        },
        createSources({}),
      ),
  }
}

/** A store that the test controls: what it answers, when, and how many loads it counts. */
function createStore() {
  const store = {
    answer: {
      versions: {
        JWT_ACCESS_SECRET: [{ value: newSecret(), createdAt: 0, source: 'a test' }],
        JWT_ACCESS_SECRET_PREVIOUS: [],
        JWT_REFRESH_SECRET: [{ value: newSecret(), createdAt: 0, source: 'a test' }],
        JWT_REFRESH_SECRET_PREVIOUS: [],
      },
      problems: [],
    } as LoadedSecrets,
    loads: 0,
    gate: Promise.resolve() as Promise<void>,
    async load() {
      store.loads++
      await store.gate
      return store.answer
    },
    publish(value: string) {
      const versions = store.answer.versions.JWT_ACCESS_SECRET ?? []
      store.answer.versions.JWT_ACCESS_SECRET = [{ value, createdAt: now, source: 'a test' }, ...versions]
    },
    hold(): () => void {
      let release = () => {}
      store.gate = new Promise((resolve) => {
        release = resolve
      })
      return release
    },
  }
  return store
}

const text = (key?: { export(): Buffer }) => key?.export().toString()
const signer = (keys: TokenKeys) => text(keys.signingKey().signs)
/** Returns the kid of a secret. */
async function kidOf(value: string): Promise<string> {
  const versions = {
    JWT_ACCESS_SECRET: [{ value, createdAt: 0, source: 'a test' }],
    JWT_ACCESS_SECRET_PREVIOUS: [],
  }
  const { keys } = await start({ load: async () => ({ versions, problems: [] }) })
  return keys.access.signingKey().kid
}
const unavailable = expect.objectContaining({ name: 'AuthError', code: 'unavailable' })

describe('rotation in a file', () => {
  test('signs with the new key one refresh interval and a margin later, and verifies the old one to its end [E3]', async () => {
    const files = createFiles()
    const { keys, problems } = await start(files.secrets())
    const oldKid = keys.access.signingKey().kid
    const next = newSecret()

    files.write('access', `${next}\n`)
    await keys.reload()
    const seenAt = now
    now = seenAt + stagingMs - 1
    expect(signer(keys.access)).toBe(files.access)
    now = seenAt + stagingMs
    expect(signer(keys.access)).toBe(next)

    expect(text(await keys.access.verificationKey(oldKid))).toBe(files.access)
    now = seenAt + 2 * stagingMs + accessTokenSeconds * 1000
    await keys.reload()
    expect(await keys.access.verificationKey(oldKid)).toBeUndefined()
    expect(signer(keys.refresh)).toBe(files.refresh)
    expect([keys.status(), problems()]).toEqual(['ok', []])
  })

  test('lets the old key verify links for 72 hours after it signed, but refresh tokens to their own end [account Links]', async () => {
    const files = createFiles()
    const { keys } = await start(files.secrets(), { refreshTokenSeconds: 60 })
    const oldKid = keys.refresh.signingKey().kid
    files.write('refresh', newSecret())
    await keys.reload()
    const endsToSign = now + stagingMs

    now = endsToSign + stagingMs + 60_000
    await keys.reload()
    expect(await keys.refresh.verificationKey(oldKid)).toBeUndefined()
    now = endsToSign + 72 * 3_600_000
    await keys.reload()
    expect(text(await keys.links.verificationKey(oldKid))).toBe(files.refresh)
    expect(keys.links.signingKey().kid).toBe(keys.refresh.signingKey().kid)
    now += stagingMs
    await keys.reload()
    expect(await keys.links.verificationKey(oldKid)).toBeUndefined()
  })

  test('changes nothing if it is undone before the new key signs [E3]', async () => {
    const files = createFiles()
    const { keys } = await start(files.secrets())

    files.write('access', newSecret())
    await keys.reload()
    now += 10_000
    files.write('access', files.access)
    await keys.reload()

    const signers = [0, stagingMs - 10_000, stagingMs, 2 * stagingMs].map((ms) => {
      now += ms
      return signer(keys.access)
    })
    expect(signers).toEqual(Array(4).fill(files.access))
  })

  test('verifies with the previous secret and never signs with it, on this keyring only [E3]', async () => {
    const files = createFiles()
    const previous = newSecret()
    const { keys } = await start(files.secrets(previous))
    const kid = await kidOf(previous)

    expect(text(await keys.access.verificationKey(kid))).toBe(previous)
    expect(await keys.refresh.verificationKey(kid)).toBeUndefined()
    expect(signer(keys.access)).toBe(files.access)
  })

  test('does not mix the two keyrings [A5]', async () => {
    const { keys } = await start(createFiles().secrets())

    expect(await keys.access.verificationKey(keys.refresh.signingKey().kid)).toBeUndefined()
    expect(await keys.refresh.verificationKey(keys.access.signingKey().kid)).toBeUndefined()
  })

  test('lets two instances that load at different moments accept all tokens of each other [E3]', async () => {
    const files = createFiles()
    const [{ keys: early }, { keys: late }] = [await start(files.secrets()), await start(files.secrets())]
    const verifiedByBoth = async () => {
      for (const [from, by] of [[early, late] as const, [late, early] as const]) {
        const { kid, signs: key } = from.access.signingKey()
        expect((await by.access.verificationKey(kid))?.equals(key)).toBe(true)
      }
    }
    const next = newSecret()

    files.write('access', next)
    await early.reload()
    await verifiedByBoth()
    now += reloadSeconds * 1000
    await verifiedByBoth()
    await late.reload()
    now += 2_000
    await verifiedByBoth()
    expect([signer(early.access), signer(late.access)]).toEqual([next, files.access])
    now += reloadSeconds * 1000

    await verifiedByBoth()
    expect([signer(early.access), signer(late.access)]).toEqual([next, next])
  })

  test('lets an instance that starts during a rotation work with one that has not loaded the new key [E3]', async () => {
    const files = createFiles()
    const { keys: running } = await start(files.secrets())
    files.write('access', newSecret())
    const { keys: started } = await start(files.secrets(files.access))

    const { kid, signs: key } = started.access.signingKey()

    expect((await running.access.verificationKey(kid))?.equals(key)).toBe(true)
    expect(await started.access.verificationKey(running.access.signingKey().kid)).toBeDefined()
  })
})

describe('a bad new version [E4]', () => {
  const weak = 'change-me-please'

  test.each<[what: string, value: (files: ReturnType<typeof createFiles>) => string, message: RegExp]>([
    ['weak', () => 'a'.repeat(64), /repeats/],
    ['a placeholder', () => weak, /placeholder/],
    ['the refresh secret', (files) => files.refresh, /is the same as/],
  ])('that is %s is refused, and the last good one stays', async (_what, value, message) => {
    const files = createFiles()
    const { keys, problems } = await start(files.secrets())
    const bad = value(files)

    files.write('access', bad)
    await keys.reload()

    expect(keys.status()).toBe('refused')
    expect(problems()).toEqual([
      expect.objectContaining({ event: 'key_refused', reason: expect.stringMatching(message) }),
    ])
    expect(JSON.stringify(problems())).not.toContain(bad)
    now += stagingMs
    expect([signer(keys.access), signer(keys.refresh)]).toEqual([files.access, files.refresh])
    expect(await keys.access.verificationKey(await kidOf(bad))).toBeUndefined()
  })

  test.each<[what: string, value: (files: ReturnType<typeof createFiles>) => string]>([
    ['weak', () => weak],
    ['the refresh secret', (files) => files.refresh],
  ])('that was %s for a while never verifies or signs later', async (_what, value) => {
    const files = createFiles()
    const { keys } = await start(files.secrets())
    const [bad, next] = [value(files), newSecret()]
    const kid = await kidOf(bad)

    files.write('access', bad)
    await keys.reload()
    now += 600_000
    files.write('access', next)
    await keys.reload()

    expect(keys.status()).toBe('ok')
    expect(await keys.access.verificationKey(kid)).toBeUndefined()
    expect(signer(keys.access)).toBe(files.access)
    now += stagingMs
    expect(signer(keys.access)).toBe(next)
    expect(await keys.access.verificationKey(kid)).toBeUndefined()
  })

  test('that is undone leaves the good one signing', async () => {
    const files = createFiles()
    const { keys } = await start(files.secrets())

    files.write('access', weak)
    await keys.reload()
    files.write('access', files.access)
    await keys.reload()

    expect([keys.status(), signer(keys.access)]).toEqual(['ok', files.access])
  })
})

describe('an unavailable store [E4]', () => {
  test('leaves the last good keys in use, and recovers by itself', async () => {
    const files = createFiles()
    const { keys, problems } = await start(files.secrets())

    files.remove('refresh')
    await keys.reload()

    expect(keys.status()).toBe('unreachable')
    expect(problems()).toEqual([
      {
        event: 'keys_reload_failed',
        secret: 'JWT_REFRESH_SECRET',
        source: expect.stringMatching(/^ref\+file:.*refresh$/),
        reason: expect.stringMatching(/^The file \/.*refresh is missing\. Create it, or correct the path\.$/),
      },
    ])
    expect([signer(keys.access), signer(keys.refresh)]).toEqual([files.access, files.refresh])
    expect(await keys.refresh.verificationKey(keys.refresh.signingKey().kid)).toBeDefined()

    files.write('refresh', files.refresh)
    await keys.reload()
    expect([keys.status(), problems().length]).toEqual(['ok', 1])
  })

  test('makes an unknown kid unavailable rather than invalid, because it may be good', async () => {
    const files = createFiles()
    const { keys } = await start(files.secrets())
    files.remove('access')

    await expect(keys.access.verificationKey('unknown')).rejects.toEqual(unavailable)
    await expect(keys.refresh.verificationKey('unknown')).rejects.toBeInstanceOf(AuthError)
  })

  test('stops all signing and verifying after SECRETS_MAX_STALE_SECONDS [E4]', async () => {
    const files = createFiles()
    const { keys } = await start(files.secrets())
    const { kid } = keys.access.signingKey()
    files.remove('access')

    now += maxStaleSeconds * 1000
    await keys.reload()
    expect([keys.status(), signer(keys.access)]).toEqual(['unreachable', files.access])
    now += 1

    expect(keys.status()).toBe('stale')
    expect(() => keys.access.signingKey()).toThrow(unavailable)
    await expect(keys.access.verificationKey(kid)).rejects.toEqual(unavailable)
    expect(() => keys.refresh.signingKey()).toThrow(unavailable)
  })

  test('ends with a good load, also for stale keys', async () => {
    const files = createFiles()
    const { keys } = await start(files.secrets())
    const { kid } = keys.access.signingKey()
    files.remove('access')
    now += maxStaleSeconds * 1000 + 1
    await keys.reload()

    files.write('access', files.access)
    await keys.reload()

    expect([keys.status(), signer(keys.access)]).toEqual(['ok', files.access])
    expect(text(await keys.access.verificationKey(kid))).toBe(files.access)
  })

  test('has no age limit with SECRETS_MAX_STALE_SECONDS=0', async () => {
    const files = createFiles()
    const { keys } = await start(files.secrets(), { maxStaleSeconds: 0 })
    files.remove('access')

    now += 10 * 365 * 86_400_000
    await keys.reload()

    expect([keys.status(), signer(keys.access)]).toEqual(['unreachable', files.access])
  })

  test('does not withdraw a previous file with its folder; removing the file does', async () => {
    const files = createFiles()
    files.write('previous', newSecret())
    const previous = await kidOf(readFileSync(files.path('previous'), 'utf8'))
    const { keys } = await start(files.secrets(`ref+file://${files.path('previous')}`))

    renameSync(files.path('.'), `${files.path('.')}-gone`)
    await keys.reload()
    expect(keys.status()).toBe('unreachable')
    expect(await keys.access.verificationKey(previous)).toBeDefined()

    renameSync(`${files.path('.')}-gone`, files.path('.'))
    files.remove('previous')
    await keys.reload()
    expect(keys.status()).toBe('ok')
    expect(await keys.access.verificationKey(previous)).toBeUndefined()
  })

  test('a file that every user can write is reported once, and again after it was fixed', async () => {
    const files = createFiles()
    chmodSync(files.path('refresh'), 0o666)
    const { keys, warnings } = await start(files.secrets())
    await keys.reload()
    expect(warnings).toEqual(['JWT_REFRESH_SECRET: Every user can write the file. Run chmod o-w on it.'])

    chmodSync(files.path('refresh'), 0o600)
    await keys.reload()
    chmodSync(files.path('refresh'), 0o666)
    await keys.reload()
    expect(warnings).toHaveLength(2)
  })

  test('leaves the other keys in use without limit if only a previous secret is unavailable', async () => {
    const files = createFiles()
    files.write('previous', newSecret())
    const { keys } = await start(files.secrets(`ref+file://${files.path('previous')}`))
    const { kid } = keys.access.signingKey()

    files.remove('previous')
    mkdirSync(files.path('previous'))
    for (let days = 0; days < 10; days++) {
      now += maxStaleSeconds * 1000
      await keys.reload()
    }

    expect(keys.status()).toBe('unreachable')
    expect(keys.access.signingKey().kid).toBe(kid)
  })

  test('one kind of token without a key makes the status stale, and the other kind still works', async () => {
    const store = createStore()
    const { keys } = await start(store)

    store.answer.versions.JWT_REFRESH_SECRET = []
    await keys.reload()

    expect(keys.status()).toBe('stale')
    expect(keys.access.signingKey()).toBeDefined()
    expect(() => keys.refresh.signingKey()).toThrow(unavailable)
  })

  test('a reload waits for the load under way, which may have read too early, and then loads again', async () => {
    const store = createStore()
    const { keys } = await start(store)
    const release = store.hold()
    const underWay = keys.reload()
    await Promise.resolve()

    const asked = keys.reload()
    release()
    await Promise.all([underWay, asked])

    expect(store.loads).toBe(3)
  })

  test('signing is unavailable without any usable key', async () => {
    const { keys } = await start({ load: async () => ({ versions: {}, problems: [] }) })

    expect(() => keys.access.signingKey()).toThrow(unavailable)
  })
})

describe('an unknown kid', () => {
  test('loads the secrets again, and finds a key that was published in the meantime', async () => {
    const store = createStore()
    const { keys } = await start(store)
    const next = newSecret()
    store.publish(next)

    const found = await keys.access.verificationKey(await kidOf(next))

    expect(text(found)).toBe(next)
    expect(store.loads).toBe(2)
  })

  test('starts one load for any number of kids, and one in five seconds [A3]', async () => {
    const store = createStore()
    const { keys } = await start(store)
    const release = store.hold()
    const flood = (label: string) =>
      Promise.all(
        Array.from({ length: 500 }, (_, index) =>
          (index % 2 ? keys.access : keys.refresh).verificationKey(`${label}-${index}`),
        ),
      )

    const first = flood('first')
    release()
    expect(new Set(await first)).toEqual(new Set([undefined]))
    expect(store.loads).toBe(2)

    now += 4_999
    await flood('second')
    expect(store.loads).toBe(2)

    now += 1
    await flood('third')
    expect(store.loads).toBe(3)
  })

  test('is not the case for a known kid: nothing is loaded', async () => {
    const store = createStore()
    const { keys } = await start(store)

    await keys.access.verificationKey(keys.access.signingKey().kid)

    expect(store.loads).toBe(1)
  })

  test('joins a load that is under way', async () => {
    const store = createStore()
    const { keys } = await start(store)
    const next = newSecret()
    const kid = await kidOf(next)
    const release = store.hold()

    const reloads = [keys.reload(), keys.reload()]
    const found = keys.access.verificationKey(kid)
    store.publish(next)
    release()

    expect(text(await found)).toBe(next)
    await Promise.all(reloads)
    expect(store.loads).toBe(2)
  })

  test('waits one second at most for a store that does not answer', async () => {
    const store = createStore()
    const { keys } = await start(store)
    const release = store.hold()
    let answered = false

    const outcome = await keys.access.verificationKey('unknown').catch((error: unknown) => error)
    const reload = keys.reload().then(() => {
      answered = true
    })

    // The contract does not say whether such a store is already unavailable.
    expect([undefined, unavailable]).toContainEqual(outcome)
    expect([store.loads, answered]).toEqual([2, false])
    release()
    await reload
  })
})

describe('the background refresh', () => {
  afterEach(() => {
    jest.useRealTimers()
  })

  test('loads the secrets every refresh interval until it is closed', async () => {
    jest.useFakeTimers({ doNotFake: ['Date'] })
    const store = createStore()
    const { keys } = await start(store)

    await jest.advanceTimersByTimeAsync(reloadSeconds * 1000 - 1)
    expect(store.loads).toBe(1)
    await jest.advanceTimersByTimeAsync(1)
    expect(store.loads).toBe(2)
    await jest.advanceTimersByTimeAsync(10 * reloadSeconds * 1000)
    expect(store.loads).toBe(12)

    keys.close()
    await jest.advanceTimersByTimeAsync(10 * reloadSeconds * 1000)
    expect(store.loads).toBe(12)
  })

  test('does not start a second load during the first', async () => {
    jest.useFakeTimers({ doNotFake: ['Date'] })
    const store = createStore()
    await start(store)
    const release = store.hold()

    await jest.advanceTimersByTimeAsync(5 * reloadSeconds * 1000)
    expect(store.loads).toBe(2)

    release()
    await jest.advanceTimersByTimeAsync(reloadSeconds * 1000)
    expect(store.loads).toBe(3)
  })
})

describe('events', () => {
  const names = (events: KeyEvent[]) =>
    events.map(({ event, secret }) => (secret ? `${secret} ${event}` : event))

  test('report every change once, by kid and source, when it happens and not at the next load [E6]', async () => {
    jest.useFakeTimers({ now, doNotFake: ['nextTick', 'queueMicrotask'] })
    const store = createStore()
    const { keys, events } = await start(store)
    const oldKid = keys.access.signingKey().kid
    expect(names(events.splice(0))).toEqual([
      'keys_loaded',
      'JWT_ACCESS_SECRET key_signing',
      'JWT_REFRESH_SECRET key_signing',
    ])

    const next = newSecret()
    store.publish(next)
    await keys.reload()
    expect(events.splice(0)).toEqual([
      expect.objectContaining({ event: 'key_published', secret: 'JWT_ACCESS_SECRET', source: 'a test' }),
    ])
    store.gate = new Promise(() => {}) // No load from now on.
    const pass = async (ms: number) => {
      now += ms
      await jest.advanceTimersByTimeAsync(ms)
    }
    await pass(stagingMs + 10)
    expect(names(events.splice(0))).toEqual([
      'JWT_ACCESS_SECRET key_signing',
      'JWT_ACCESS_SECRET key_verifying',
    ])
    await pass(stagingMs + accessTokenSeconds * 1000)
    expect(events.splice(0)).toEqual([
      expect.objectContaining({
        event: 'key_retired',
        kid: oldKid,
        reason: expect.stringMatching(/successor/),
      }),
    ])
    jest.useRealTimers()
  })

  test('report that a withdrawn key is retired, with the reason [E3]', async () => {
    const store = createStore()
    const { keys, events } = await start(store)
    const { kid } = keys.access.signingKey()
    events.splice(0)

    store.answer.versions.JWT_ACCESS_SECRET = []
    await keys.reload()

    expect(events).toEqual([
      {
        event: 'key_retired',
        secret: 'JWT_ACCESS_SECRET',
        kid,
        source: 'a test',
        reason: 'its source no longer has it',
      },
    ])
    expect(() => keys.access.signingKey()).toThrow(unavailable)
    await expect(keys.access.verificationKey(kid)).rejects.toEqual(unavailable)
  })

  test('report a lasting problem once, and its end; the failures count each time [E4]', async () => {
    const files = createFiles()
    const { keys, events } = await start(files.secrets())
    events.splice(0)

    files.remove('refresh')
    for (let times = 0; times < 3; times++) await keys.reload()
    expect(names(events)).toEqual(['JWT_REFRESH_SECRET keys_reload_failed'])
    expect(keys.report()).toMatchObject({ status: 'unreachable', failures: 3, loadAge: 0 })

    files.write('refresh', files.refresh)
    await keys.reload()
    expect(names(events)).toEqual(['JWT_REFRESH_SECRET keys_reload_failed', 'keys_loaded'])
  })

  test('report a store whose SDK throws an unexpected error as unavailable [E4]', async () => {
    const files = createFiles()
    let broken = false
    const { keys, problems } = await start(
      openSecrets({ JWT_ACCESS_SECRET: 'ref+file:///a', JWT_REFRESH_SECRET: 'ref+file:///b' }, (text) => ({
        label: text,
        history: async () => [],
        versions: async () => {
          if (broken) throw new TypeError('canary')
          return [{ value: text.endsWith('a') ? files.access : files.refresh, source: text }]
        },
      })),
    )

    broken = true
    await keys.reload()

    expect(keys.status()).toBe('unreachable')
    expect(problems()[0]?.reason).toBe(
      'cannot be read: unexpected TypeError of its store. Check the store and its SDK.',
    )
  })
})
