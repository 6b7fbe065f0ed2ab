import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { Delay } from '../../src/retry.ts'
import { SourceError, type SourceFault } from '../../src/secrets/source-error.ts'
import { createStoredSecret } from '../../src/secrets/stored-secret.ts'
import type { SecretStore, StoredVersion } from '../../src/secrets/stores/secret-store.ts'

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate'] })
})
afterEach(() => {
  jest.useRealTimers()
})

interface Version extends StoredVersion {
  value: string
}

const version = (id: string, createdAt: number, more: Partial<Version> = {}): Version => ({
  id,
  createdAt,
  state: 'enabled',
  value: `value of ${id}`,
  ...more,
})

/** A store in memory. Its functions count their calls, and a test can replace them. */
function createStore(versions: Version[] = []) {
  return {
    versions,
    list: jest.fn<SecretStore['list']>(async () =>
      versions.map(({ id, createdAt, state }) => ({ id, createdAt, state })),
    ),
    read: jest.fn<SecretStore['read']>(async (id) => {
      const found = versions.find((version) => version.id === id)
      if (!found) throw new SourceError('withdrawn', 'was deleted')
      return found.value
    }),
    write: jest.fn<SecretStore['write']>(async () => {}),
  }
}

// On the global timers, which jest can fake.
const delay: Delay = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(signal.reason)
    })
  })
const secretIn = (store: SecretStore, random = () => 0.5) =>
  createStoredSecret({ open: async () => store, delay, random })
const failing = (fault: SourceFault) => async () => {
  throw new SourceError(fault, `is ${fault}`)
}
const never = () => new Promise<never>(() => {})
const ids = (versions: { id: string }[]) => versions.map(({ id }) => id)

/** Returns the result of `action` and how long it took, without waiting for it. */
async function outcome<T>(action: Promise<T>): Promise<{ value?: T; error?: unknown; ms: number }> {
  const before = Date.now()
  let settled: { value?: T; error?: unknown } | undefined
  action.then(
    (value) => {
      settled = { value }
    },
    (error: unknown) => {
      settled = { error }
    },
  )
  for (let ms = 0; !settled && ms < 60_000; ms += 10) await jest.advanceTimersByTimeAsync(10)
  if (!settled) throw new Error('did not settle')
  return { ...settled, ms: Date.now() - before }
}

describe('the order of versions', () => {
  const at = (createdAt: number, ...ids: string[]) => ids.map((id) => version(id, createdAt))

  test.each([
    [
      'newest first, however the store lists them',
      [...at(2, 'b'), ...at(4, 'd'), ...at(1, 'a'), ...at(3, 'c')],
      ['d', 'c', 'b', 'a'],
    ],
    ['by date, even if the ids say otherwise', [...at(1, '9'), ...at(2, '1')], ['1', '9']],
    ['by number for ids of the same moment', at(1, '9', '1', '10', '2', '100'), ['100', '10', '9', '2', '1']],
  ])('is %s', async (_what, versions, expected) => {
    const secret = secretIn(createStore(versions))

    expect(ids(await secret.history())).toEqual(expected)
    expect(ids(await secret.versions())).toEqual(expected)
  })

  test('is the same on every instance for other ids of the same moment', async () => {
    const versions = Array.from({ length: 8 }, () => version(randomUUID(), 1_000))
    const history = async (versions: Version[]) => ids(await secretIn(createStore(versions)).history())
    const first = await history(versions)

    expect(await history(versions.toReversed())).toEqual(first)
    expect(await history([...versions.slice(3), ...versions.slice(0, 3)])).toEqual(first)
    expect(new Set(first).size).toBe(8)
  })
})

describe('reading', () => {
  test('reads the ten newest enabled versions; the history has all', async () => {
    const store = createStore(
      Array.from({ length: 14 }, (_, count) =>
        version(String(count), count, { state: count % 7 === 6 ? 'disabled' : 'enabled' }),
      ),
    )
    const secret = secretIn(store)

    expect(ids(await secret.versions())).toEqual(['12', '11', '10', '9', '8', '7', '5', '4', '3', '2'])
    expect(store.read).toHaveBeenCalledTimes(10)
    expect(await secret.history()).toHaveLength(14)
  })

  test('skips versions that are disabled or destroyed', async () => {
    const store = createStore([
      version('3', 3, { state: 'destroyed' }),
      version('2', 2, { state: 'disabled' }),
      version('1', 1),
    ])

    expect(await secretIn(store).versions()).toEqual([{ id: '1', createdAt: 1, value: 'value of 1' }])
    expect(store.read.mock.calls.map(([id]) => id)).toEqual(['1'])
  })

  test('reads each value once, over many loads', async () => {
    const store = createStore([version('1', 1), version('2', 2)])
    const secret = secretIn(store)

    for (let load = 0; load < 5; load++) await secret.versions()
    store.versions.push(version('3', 3))

    expect((await secret.versions()).map(({ value }) => value)).toEqual([
      'value of 3',
      'value of 2',
      'value of 1',
    ])
    expect(store.list).toHaveBeenCalledTimes(6)
    expect(store.read.mock.calls.map(([id]) => id)).toEqual(['2', '1', '3'])
  })

  test('reads again if the secret was deleted and created again with the same ids', async () => {
    const store = createStore([version('1', 1, { value: 'the old' })])
    const secret = secretIn(store)
    await secret.versions()

    store.versions.splice(0, 1, version('1', 2, { value: 'the new' }))

    expect(await secret.versions()).toEqual([{ id: '1', createdAt: 2, value: 'the new' }])
  })

  test('forgets a version once it is disabled', async () => {
    const [first, second] = [version('1', 1), version('2', 2)]
    const store = createStore([first, second])
    const secret = secretIn(store)
    await secret.versions()

    second.state = 'disabled'
    expect(ids(await secret.versions())).toEqual(['1'])
    second.state = 'enabled'
    expect(ids(await secret.versions())).toEqual(['2', '1'])
    expect(store.read.mock.calls.map(([id]) => id)).toEqual(['2', '1', '2'])
  })

  test('lists once for concurrent callers, and again for later ones', async () => {
    const store = createStore([version('1', 1)])
    const secret = secretIn(store)

    const [one, other] = await Promise.all([secret.versions(), secret.versions()])
    expect([store.list.mock.calls.length, store.read.mock.calls.length]).toEqual([1, 1])
    expect(one).toEqual(other)

    await secret.versions()
    expect(store.list).toHaveBeenCalledTimes(2)
  })

  test('does not keep a failed load for the next caller', async () => {
    const store = createStore([version('1', 1)])
    store.list.mockImplementationOnce(failing('denied'))
    const secret = secretIn(store)

    await expect(secret.versions()).rejects.toMatchObject({ fault: 'denied' })
    expect(await secret.versions()).toHaveLength(1)
  })
})

describe('a version that cannot be read', () => {
  /** A store that fails to read one of its three versions. */
  function storeWithout(bad: string, fault: SourceFault) {
    const store = createStore([version('1', 1), version('2', 2), version('3', 3)])
    const read = store.read.getMockImplementation() as SecretStore['read']
    store.read.mockImplementation((id, signal) => (id === bad ? failing(fault)() : read(id, signal)))
    return store
  }

  test('is left out if it was deleted after the listing [E3]', async () => {
    expect(ids(await secretIn(storeWithout('2', 'withdrawn')).versions())).toEqual(['3', '1'])
  })

  test.each<SourceFault>(['malformed', 'denied'])(
    'is a problem of its own if it is %s; the others can be used, and it is read again [E4]',
    async (fault) => {
      const store = storeWithout('2', fault)
      const secret = secretIn(store)
      const versions = [
        { id: '3', createdAt: 3, value: 'value of 3' },
        expect.objectContaining({ id: '2', createdAt: 2, value: '', problem: `is ${fault}` }),
        { id: '1', createdAt: 1, value: 'value of 1' },
      ]

      expect(await secret.versions()).toEqual(versions)
      expect(await secret.versions()).toEqual(versions)
      expect(store.read).toHaveBeenCalledTimes(4)
    },
  )

  test.each([
    ['16 KiB', 'x'.repeat(16 * 1024), true],
    ['16 KiB and a byte', 'x'.repeat(16 * 1024 + 1), false],
    ['16 KiB of characters of two bytes', 'é'.repeat(8 * 1024), true],
    ['more bytes than 16 KiB, but fewer characters', 'é'.repeat(8 * 1024 + 1), false],
    ['1 MB', 'x'.repeat(1_000_000), false],
  ])('is one of more than 16 KiB: %s [E4]', async (_what, value, fits) => {
    const [first, second] = await secretIn(
      createStore([version('2', 2, { value }), version('1', 1)]),
    ).versions()

    expect(first).toEqual({
      id: '2',
      createdAt: 2,
      value: fits ? value : '',
      ...(!fits && { problem: 'is larger than 16 KiB. Write the secret and nothing else.' }),
    })
    expect(second?.value).toBe('value of 1')
  })

  test.each<SourceFault>(['denied', 'unreachable', 'sealed', 'absent'])(
    'ends the load if all are %s, because the newest may be missing [E4]',
    async (fault) => {
      const store = createStore([version('1', 1), version('2', 2)])
      store.read.mockImplementation(failing(fault))

      expect((await outcome(secretIn(store).versions())).error).toMatchObject({ fault })
    },
  )
})

describe('a call that fails', () => {
  test.each<[SourceFault, tries: number]>([
    ['unreachable', 3],
    ['absent', 1],
    ['denied', 1],
    ['sealed', 1],
    ['conflict', 1],
    ['sdk_missing', 1],
  ])('as %s is tried %i time(s) [E5]', async (fault, tries) => {
    const store = createStore([version('1', 1)])
    store.list.mockImplementation(failing(fault))

    const { error } = await outcome(secretIn(store).versions())

    expect(error).toMatchObject({ fault, message: `is ${fault}` })
    expect(store.list).toHaveBeenCalledTimes(tries)
    expect(store.read).not.toHaveBeenCalled()
  })

  test.each<'list' | 'read'>(['list', 'read'])(
    'twice and then works is no failure: %s [E5]',
    async (call) => {
      const store = createStore([version('1', 1)])
      store[call]
        .mockImplementationOnce(failing('unreachable'))
        .mockImplementationOnce(failing('unreachable'))

      const { value } = await outcome(secretIn(store).versions())

      expect(value).toEqual([{ id: '1', createdAt: 1, value: 'value of 1' }])
      expect(store[call]).toHaveBeenCalledTimes(3)
    },
  )

  test.each([
    ['shortest', 0, 100 + 200],
    ['longest', 0.999, 300 + 600],
  ])(
    'is retried after growing pauses that differ between instances: the %s [E5]',
    async (_what, luck, ms) => {
      const store = createStore()
      store.list.mockImplementation(failing('unreachable'))

      const paused = (await outcome(secretIn(store, () => luck).versions())).ms

      expect(paused).toBeGreaterThanOrEqual(ms - 10)
      expect(paused).toBeLessThanOrEqual(ms + 10)
    },
  )

  test('with an unexpected error passes that error on', async () => {
    const bug = new TypeError('versions is not iterable')
    const store = createStore([version('1', 1)])
    const secret = secretIn(store)

    store.list.mockRejectedValueOnce(bug)
    await expect(secret.versions()).rejects.toBe(bug)
    store.read.mockRejectedValueOnce(bug)
    await expect(secret.versions()).rejects.toBe(bug)
    store.write.mockRejectedValueOnce(bug)
    await expect(secret.write('value')).rejects.toBe(bug)
  })
})

describe('a call that never ends', () => {
  test.each<'list' | 'read'>(['list', 'read'])('is aborted after 3 s, three times: %s [E5]', async (call) => {
    const signals: AbortSignal[] = []
    const store = createStore([version('1', 1)])
    store[call].mockImplementation((...args: unknown[]) => {
      signals.push(args.at(-1) as AbortSignal)
      return never()
    })

    const { error, ms } = await outcome(secretIn(store).versions())

    expect(error).toMatchObject({
      fault: 'unreachable',
      message: 'The store did not answer in 3 s. Check the store.',
    })
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true, true])
    expect(ms).toBeGreaterThanOrEqual(9_300)
    expect(ms).toBeLessThan(10_000)
  })

  test('is not aborted before 3 s [E5]', async () => {
    const store = createStore()
    store.list.mockImplementation(never)
    const load = secretIn(store).versions()
    load.catch(() => {})
    const aborted = () => store.list.mock.calls[0]?.[0].aborted

    await jest.advanceTimersByTimeAsync(2_999)
    expect(aborted()).toBe(false)
    await jest.advanceTimersByTimeAsync(1)
    expect(aborted()).toBe(true)
  })

  test('leaves the next call its full time [E5]', async () => {
    const store = createStore([version('1', 1)])
    store.list
      .mockImplementationOnce(never)
      .mockImplementationOnce(() => delay(2_900).then(() => [{ id: '1', createdAt: 1, state: 'enabled' }]))

    expect((await outcome(secretIn(store).versions())).value).toHaveLength(1)
  })

  test('may fail later without harm [E5]', async () => {
    const store = createStore()
    store.list.mockImplementation(
      (signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => setTimeout(reject, 1_000, new Error('aborted')))
        }),
    )
    const unhandled = jest.fn()
    process.on('unhandledRejection', unhandled)
    try {
      expect((await outcome(secretIn(store).versions())).error).toMatchObject({ fault: 'unreachable' })
      await jest.advanceTimersByTimeAsync(5_000)
      await new Promise((resolve) => setImmediate(resolve))
      expect(unhandled).not.toHaveBeenCalled()
    } finally {
      process.off('unhandledRejection', unhandled)
    }
  })

  test('differs from one that ended: that leaves no timer behind, and is never aborted', async () => {
    const store = createStore([version('1', 1)])
    const secret = secretIn(store)

    await secret.versions()
    await secret.write('value')

    expect(jest.getTimerCount()).toBe(0)
    await jest.advanceTimersByTimeAsync(10_000)
    expect(store.list.mock.calls[0]?.[0].aborted).toBe(false)
  })
})

describe('opening the store', () => {
  const opening = () => {
    const open = jest.fn(async (): Promise<SecretStore> => createStore([version('1', 1)]))
    return { open, secret: createStoredSecret({ open, delay, random: () => 0.5 }) }
  }

  test('is tried again at the next read after a failure, and is then not repeated [E4]', async () => {
    const { open, secret } = opening()
    open.mockImplementationOnce(failing('sdk_missing'))

    await expect(secret.versions()).rejects.toMatchObject({ fault: 'sdk_missing' })
    expect(await secret.versions()).toHaveLength(1)
    await secret.history()
    await secret.write('value')
    expect(open).toHaveBeenCalledTimes(2)
  })

  test('happens at the first call, once for concurrent callers', async () => {
    const { open, secret } = opening()
    expect(open).not.toHaveBeenCalled()

    await Promise.all([secret.versions(), secret.history(), secret.write('value')])

    expect(open).toHaveBeenCalledTimes(1)
  })
})

describe('a write', () => {
  test('gives the value to the store', async () => {
    const store = createStore()

    await secretIn(store).write('the new')

    expect(store.write).toHaveBeenCalledWith('the new', expect.any(AbortSignal))
  })

  test.each<[what: string, write: SecretStore['write'], fault: SourceFault, ms: number]>([
    ['fails as unreachable', failing('unreachable'), 'unreachable', 10],
    ['fails as conflict', failing('conflict'), 'conflict', 10],
    ['fails as denied', failing('denied'), 'denied', 10],
    ['never ends', never, 'unreachable', 3_000],
  ])('that %s is tried once, because it may have succeeded [E5]', async (_what, write, fault, ms) => {
    const store = createStore()
    store.write.mockImplementation(write)

    expect(await outcome(secretIn(store).write('value'))).toMatchObject({ error: { fault }, ms })
    expect(store.write).toHaveBeenCalledTimes(1)
  })
})
