import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { SourceError, type SourceFault } from '../../src/secrets/source-error.ts'
import type { SecretStore, StoredVersion } from '../../src/secrets/store.ts'

// Fake timers do not reach those of `node:timers/promises`; this is the same on the global ones, which they do reach.
jest.unstable_mockModule('node:timers/promises', () => ({
  setTimeout: (ms: number, value: unknown, { signal }: { signal?: AbortSignal } = {}) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, ms, value)
      signal?.addEventListener('abort', () => {
        clearTimeout(timer)
        reject(new DOMException('The operation was aborted', 'AbortError'))
      })
    }),
}))
const { createPlace } = await import('../../src/secrets/place.ts')

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate'] })
})
afterEach(() => {
  jest.restoreAllMocks()
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

/** A store in memory. Its functions count their calls, and can be replaced for one case. */
function createStore(versions: Version[] = []) {
  return {
    versions,
    list: jest.fn<SecretStore['list']>(async () =>
      versions.map(({ id, createdAt, state }) => ({ id, createdAt, state })),
    ),
    read: jest.fn<SecretStore['read']>(async (id) => {
      const found = versions.find((version) => version.id === id)
      if (!found) throw new SourceError('withdrawn', 'is a version that was deleted meanwhile')
      return found.value
    }),
    write: jest.fn<SecretStore['write']>(async () => {}),
  }
}

const placeOf = (store: SecretStore) => createPlace(async () => store)
const failing = (fault: SourceFault) => async () => {
  throw new SourceError(fault, `is ${fault}`)
}
const never = () => new Promise<never>(() => {})

/** What comes of something that takes long, and how long that is, without waiting for it. */
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
  if (!settled) throw new Error('has not come to an end')
  return { ...settled, ms: Date.now() - before }
}

describe('the order', () => {
  const ids = async (versions: Version[]) =>
    (await placeOf(createStore(versions)).history()).map(({ id }) => id)

  test('is newest first, however the store lists them', async () => {
    const versions = [version('b', 2_000), version('d', 4_000), version('a', 1_000), version('c', 3_000)]
    const place = placeOf(createStore(versions))

    expect((await place.versions()).map(({ id }) => id)).toEqual(['d', 'c', 'b', 'a'])
    expect((await place.history()).map(({ id }) => id)).toEqual(['d', 'c', 'b', 'a'])
  })

  test('of numbers that were made at once is that of the numbers, past ten too', async () => {
    const at = (...numbers: number[]) => numbers.map((number) => version(String(number), 1_000))

    expect(await ids(at(9, 1, 10, 2, 100))).toEqual(['100', '10', '9', '2', '1'])
  })

  test('of ids that were made at once is the same on every instance, whatever the store lists first', async () => {
    const versions = Array.from({ length: 8 }, () => version(randomUUID(), 1_000))
    const first = await ids(versions)

    expect(await ids(versions.toReversed())).toEqual(first)
    expect(await ids([...versions.slice(3), ...versions.slice(0, 3)])).toEqual(first)
    expect(new Set(first).size).toBe(8)
  })

  test('goes by the date where the ids say otherwise', async () => {
    expect(await ids([version('9', 1_000), version('1', 2_000)])).toEqual(['1', '9'])
  })
})

describe('what is read', () => {
  test('are the ten newest of the enabled versions, of which the history tells all', async () => {
    const store = createStore(
      Array.from({ length: 14 }, (_, count) =>
        version(String(count), count, { state: count % 7 === 6 ? 'disabled' : 'enabled' }),
      ),
    )
    const place = placeOf(store)

    const read = await place.versions()

    expect(read.map(({ id }) => id)).toEqual(['12', '11', '10', '9', '8', '7', '5', '4', '3', '2'])
    expect(store.read).toHaveBeenCalledTimes(10)
    expect(await place.history()).toHaveLength(14)
  })

  test('is no version that is disabled or destroyed', async () => {
    const store = createStore([
      version('3', 3, { state: 'destroyed' }),
      version('2', 2, { state: 'disabled' }),
      version('1', 1),
    ])

    expect(await placeOf(store).versions()).toEqual([{ id: '1', createdAt: 1, value: 'value of 1' }])
    expect(store.read.mock.calls.map(([id]) => id)).toEqual(['1'])
  })

  test('is read once, over many loads', async () => {
    const store = createStore([version('1', 1), version('2', 2)])
    const place = placeOf(store)

    for (let load = 0; load < 5; load++) await place.versions()
    store.versions.push(version('3', 3))
    const versions = await place.versions()

    expect(versions.map(({ value }) => value)).toEqual(['value of 3', 'value of 2', 'value of 1'])
    expect(store.list).toHaveBeenCalledTimes(6)
    expect(store.read.mock.calls.map(([id]) => id)).toEqual(['2', '1', '3'])
  })

  test('is read anew where the secret was deleted and made again: same id, another date', async () => {
    const store = createStore([version('1', 1, { value: 'the old' })])
    const place = placeOf(store)
    await place.versions()

    store.versions.splice(0, 1, version('1', 2, { value: 'the new' }))

    expect(await place.versions()).toEqual([{ id: '1', createdAt: 2, value: 'the new' }])
  })

  test('is forgotten once it is withdrawn', async () => {
    const [first, second] = [version('1', 1), version('2', 2)]
    const store = createStore([first, second])
    const place = placeOf(store)
    await place.versions()

    second.state = 'disabled'
    expect((await place.versions()).map(({ id }) => id)).toEqual(['1'])
    second.state = 'enabled'
    expect((await place.versions()).map(({ id }) => id)).toEqual(['2', '1'])
    expect(store.read.mock.calls.map(([id]) => id)).toEqual(['2', '1', '2'])
  })

  test('is listed once for all who ask at the same time, and again for who asks later', async () => {
    const store = createStore([version('1', 1)])
    const place = placeOf(store)

    const [one, other] = await Promise.all([place.versions(), place.versions()])
    expect(store.list).toHaveBeenCalledTimes(1)
    expect(store.read).toHaveBeenCalledTimes(1)
    expect(one).toEqual(other)

    await place.versions()
    expect(store.list).toHaveBeenCalledTimes(2)
  })

  test('a load that failed is not what the next one gets', async () => {
    const store = createStore([version('1', 1)])
    store.list.mockImplementationOnce(failing('denied'))
    const place = placeOf(store)

    await expect(place.versions()).rejects.toMatchObject({ fault: 'denied' })
    expect(await place.versions()).toHaveLength(1)
  })
})

describe('a version that cannot be read', () => {
  test('E3 is left out where it was withdrawn since it was listed', async () => {
    const store = createStore([version('1', 1), version('2', 2), version('3', 3)])
    store.list.mockImplementationOnce(async () => store.versions.splice(1, 1).concat(store.versions))

    expect((await placeOf(store).versions()).map(({ id }) => id)).toEqual(['3', '1'])
  })

  test('E4 is a problem of its own where it is malformed; the others stay', async () => {
    const store = createStore([version('1', 1), version('2', 2), version('3', 3)])
    const { read } = { read: store.read.getMockImplementation() as SecretStore['read'] }
    store.read.mockImplementation((id, signal) => (id === '2' ? failing('malformed')() : read(id, signal)))
    const place = placeOf(store)

    const versions = [
      { id: '3', createdAt: 3, value: 'value of 3' },
      { id: '2', createdAt: 2, value: '', problem: 'is malformed' },
      { id: '1', createdAt: 1, value: 'value of 1' },
    ]
    expect(await place.versions()).toEqual(versions)
    expect(await place.versions()).toEqual(versions)
    // It is asked for again, as it may have been a fault on its way.
    expect(store.read).toHaveBeenCalledTimes(4)
  })

  test.each([
    ['16 KiB', 'x'.repeat(16 * 1024), undefined],
    ['16 KiB and a byte', 'x'.repeat(16 * 1024 + 1), /^is over 16 KiB; write/],
    ['16 KiB of two bytes each', 'é'.repeat(8 * 1024), undefined],
    ['more than 16 KiB, though not of characters', 'é'.repeat(8 * 1024 + 1), /^is over 16 KiB; write/],
    ['1 MB', 'x'.repeat(1_000_000), /^is over 16 KiB; write/],
  ])('E4 of %s: 16 KiB it may have, and not a byte more', async (_what, value, problem) => {
    const store = createStore([version('2', 2, { value }), version('1', 1)])

    const [first, second] = await placeOf(store).versions()

    expect(first).toEqual({
      id: '2',
      createdAt: 2,
      value: problem ? '' : value,
      ...(problem && { problem: expect.stringMatching(problem) }),
    })
    expect(second?.value).toBe('value of 1')
  })

  test.each<SourceFault>(['denied', 'unreachable', 'sealed', 'absent'])(
    'E4 is the end of the load where it is %s: what is missing may be the newest',
    async (fault) => {
      const store = createStore([version('1', 1), version('2', 2)])
      store.read.mockImplementation(failing(fault))

      expect((await outcome(placeOf(store).versions())).error).toMatchObject({ fault })
    },
  )

  test('E4 is a problem of its own where it is denied and others are not: its key may be gone', async () => {
    const store = createStore([version('1', 1), version('2', 2)])
    const { read } = createStore([version('1', 1), version('2', 2)])
    store.read.mockImplementation(async (id, signal) => (id === '1' ? failing('denied')() : read(id, signal)))

    expect(await placeOf(store).versions()).toEqual([
      { id: '2', createdAt: 2, value: 'value of 2' },
      expect.objectContaining({ id: '1', value: '', problem: expect.any(String) }),
    ])
  })
})

describe('E5 a call that fails', () => {
  test.each<[SourceFault, tries: number]>([
    ['unreachable', 3],
    ['absent', 1],
    ['denied', 1],
    ['sealed', 1],
    ['conflict', 1],
    ['sdk_missing', 1],
  ])('as %s is tried %i time(s)', async (fault, tries) => {
    const store = createStore([version('1', 1)])
    store.list.mockImplementation(failing(fault))

    const { error } = await outcome(placeOf(store).versions())

    expect(error).toMatchObject({ fault, message: `is ${fault}` })
    expect(store.list).toHaveBeenCalledTimes(tries)
    expect(store.read).not.toHaveBeenCalled()
  })

  test.each<'list' | 'read'>(['list', 'read'])('and then works is no failure: %s', async (call) => {
    const store = createStore([version('1', 1)])
    store[call].mockImplementationOnce(failing('unreachable')).mockImplementationOnce(failing('unreachable'))

    const { value } = await outcome(placeOf(store).versions())

    expect(value).toEqual([{ id: '1', createdAt: 1, value: 'value of 1' }])
    expect(store[call]).toHaveBeenCalledTimes(3)
  })

  test.each([
    ['shortest', 0, 100 + 200],
    ['longest', 0.999, 300 + 600],
  ])('is tried again after growing pauses that differ between instances: the %s', async (_what, luck, ms) => {
    jest.spyOn(Math, 'random').mockReturnValue(luck)
    const store = createStore()
    store.list.mockImplementation(failing('unreachable'))

    const paused = (await outcome(placeOf(store).versions())).ms

    expect(paused).toBeGreaterThanOrEqual(ms - 10)
    expect(paused).toBeLessThanOrEqual(ms + 10)
  })

  test('in a way nobody thought of is passed on as it is', async () => {
    const bug = new TypeError('versions is not iterable')
    const store = createStore([version('1', 1)])
    store.list.mockRejectedValueOnce(bug)
    await expect(placeOf(store).versions()).rejects.toBe(bug)

    store.read.mockRejectedValueOnce(bug)
    await expect(placeOf(store).versions()).rejects.toBe(bug)

    store.write.mockRejectedValueOnce(bug)
    await expect(placeOf(store).write('value')).rejects.toBe(bug)
  })
})

describe('E5 a call that never ends', () => {
  test.each<'list' | 'read'>(['list', 'read'])('is given up after 3 s, three times: %s', async (call) => {
    const signals: AbortSignal[] = []
    const store = createStore([version('1', 1)])
    store[call].mockImplementation((...args: unknown[]) => {
      signals.push(args.at(-1) as AbortSignal)
      return never()
    })

    const { error, ms } = await outcome(placeOf(store).versions())

    expect(error).toMatchObject({
      fault: 'unreachable',
      message: expect.stringMatching(/did not answer in 3 s; look after it/),
    })
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true, true])
    expect(ms).toBeGreaterThanOrEqual(9_300)
    expect(ms).toBeLessThan(10_000)
  })

  test('is told so by its signal, after 3 s and not before', async () => {
    let signal: AbortSignal | undefined
    const store = createStore()
    store.list.mockImplementation((given) => {
      signal = given
      return never()
    })
    const load = placeOf(store).versions()
    load.catch(() => {})

    await jest.advanceTimersByTimeAsync(2_999)
    expect(signal?.aborted).toBe(false)
    await jest.advanceTimersByTimeAsync(1)
    expect(signal?.aborted).toBe(true)
  })

  test('does not keep the next one from its full time', async () => {
    const store = createStore([version('1', 1)])
    store.list.mockImplementationOnce(never).mockImplementationOnce(
      () =>
        new Promise((resolve) => {
          setTimeout(resolve, 2_900, [{ id: '1', createdAt: 1, state: 'enabled' }])
        }),
    )

    expect((await outcome(placeOf(store).versions())).value).toHaveLength(1)
  })

  test('and fails later, when nobody waits for it, does no harm', async () => {
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
      expect((await outcome(placeOf(store).versions())).error).toMatchObject({ fault: 'unreachable' })
      await jest.advanceTimersByTimeAsync(5_000)
      await new Promise((resolve) => setImmediate(resolve))
      expect(unhandled).not.toHaveBeenCalled()
    } finally {
      process.off('unhandledRejection', unhandled)
    }
  })
})

test('a call that is over leaves no timer behind, and its signal as it was', async () => {
  const store = createStore([version('1', 1)])
  const place = placeOf(store)

  await place.versions()
  await place.write('value')

  expect(jest.getTimerCount()).toBe(0)
  await jest.advanceTimersByTimeAsync(10_000)
  expect(store.list.mock.calls[0]?.[0].aborted).toBe(false)
})

describe('a store that cannot be opened', () => {
  test('E4 is opened again at the next read, and then stays open', async () => {
    const store = createStore([version('1', 1)])
    const open = jest.fn(async (): Promise<SecretStore> => store)
    open.mockImplementationOnce(failing('sdk_missing'))
    const place = createPlace(open)

    await expect(place.versions()).rejects.toMatchObject({ fault: 'sdk_missing' })
    expect(await place.versions()).toHaveLength(1)
    await place.history()
    await place.write('value')
    expect(open).toHaveBeenCalledTimes(2)
  })

  test('is opened once for all who ask at the same time', async () => {
    const open = jest.fn(async (): Promise<SecretStore> => createStore([version('1', 1)]))
    const place = createPlace(open)

    await Promise.all([place.versions(), place.history(), place.write('value')])

    expect(open).toHaveBeenCalledTimes(1)
  })

  test('is not opened before something is asked of it', () => {
    const open = jest.fn(async (): Promise<SecretStore> => createStore())

    createPlace(open)

    expect(open).not.toHaveBeenCalled()
  })
})

describe('a write', () => {
  test('gives the store the value', async () => {
    const store = createStore()

    await placeOf(store).write('the new')

    expect(store.write).toHaveBeenCalledWith('the new', expect.any(AbortSignal))
  })

  test.each<SourceFault>(['unreachable', 'conflict', 'denied'])(
    'that fails as %s is tried once: it may have gone through',
    async (fault) => {
      const store = createStore()
      store.write.mockImplementation(failing(fault))

      expect((await outcome(placeOf(store).write('value'))).error).toMatchObject({ fault })
      expect(store.write).toHaveBeenCalledTimes(1)
    },
  )

  test('E5 that never ends is given up after 3 s, once', async () => {
    const store = createStore()
    store.write.mockImplementation(never)

    const { error, ms } = await outcome(placeOf(store).write('value'))

    expect(error).toMatchObject({ fault: 'unreachable' })
    expect(ms).toBe(3_000)
    expect(store.write).toHaveBeenCalledTimes(1)
    expect(store.write.mock.calls[0]?.[1].aborted).toBe(true)
  })
})
