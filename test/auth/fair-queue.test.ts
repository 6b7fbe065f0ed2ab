import { describe, expect, test } from '@jest/globals'
import { createFairQueue, type Flow, type Job } from '../../src/auth/fair-queue.ts'
import type { AuthError } from '../../src/errors.ts'

/** A queue whose jobs end when the test ends them. */
function controlled({ concurrency = 1, capacity = 100 } = {}) {
  const queue = createFairQueue({ concurrency, capacity })
  const started: string[] = []
  const refused: string[] = []
  const ends: (() => void)[] = []

  function add(name: string, flows: (string | Flow)[], options: Partial<Job> = {}) {
    const job = {
      flows: flows.map((flow) => (typeof flow === 'string' ? { name: flow, shares: 1 } : flow)),
      preferred: false,
      ...options,
    }
    const work = () => {
      started.push(name)
      return new Promise<void>((resolve) => ends.push(resolve))
    }
    queue.add(job, work).catch((error: AuthError) => refused.push(`${name}: ${error.code}`))
    return job
  }

  /** Ends all jobs one after the other, and returns those that started, in order. */
  async function drain(): Promise<string> {
    for (let end = ends.shift(); end; end = ends.shift()) {
      end()
      await settled()
    }
    return started.join(' ')
  }

  return { queue, add, drain, started, refused, ends }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))
const many = (count: number, action: (i: number) => void) =>
  Array.from({ length: count }, (_, i) => action(i))

describe('turns [G10]', () => {
  test('jobs of different flows run in the order of their arrival', async () => {
    const { add, drain } = controlled()
    for (const name of ['a', 'b', 'c']) add(name, [name])

    expect(await drain()).toBe('a b c')
  })

  test('flows take turns, however many jobs of each wait', async () => {
    const { add, drain } = controlled()
    many(4, (i) => add(`a${i}`, ['a']))
    many(2, (i) => add(`b${i}`, ['b']))
    add('c0', ['c'])

    expect(await drain()).toBe('a0 b0 c0 a1 b1 a2 a3')
  })

  test('a new flow waits for one turn of each other flow at most', async () => {
    const { add, drain, ends, started } = controlled()
    many(9, (i) => add(`a${i}`, ['a']))
    many(9, (i) => add(`b${i}`, ['b']))
    for (let turns = 0; turns < 6; turns++) {
      ends.shift()?.()
      await settled()
    }

    add('new', ['c'])

    const before = started.length
    await drain()
    expect(started.indexOf('new') - before).toBeLessThanOrEqual(1)
  })

  test('an account that many addresses try has the turns of one flow', async () => {
    const { add, drain } = controlled()
    many(5, (i) => add(`a${i}`, [`address ${i}`, 'account']))
    add('other', ['elsewhere', 'another account'])

    expect(await drain()).toBe('a0 other a1 a2 a3 a4')
  })

  test('accounts of one address take turns', async () => {
    const { add, drain } = controlled()
    many(4, (i) => add(`a${i}`, ['address', 'flooding account']))
    add('other', ['address', 'another account'])

    expect(await drain()).toBe('a0 other a1 a2 a3')
  })

  test('a flow of several shares has as many turns, and its parts have one each', async () => {
    const { add, drain } = controlled()
    const site = { name: 'site', shares: 4 }
    many(3, (i) => add(`x${i}`, [site, 'x']))
    many(3, (i) => add(`y${i}`, [site, 'y']))
    many(3, (i) => add(`z${i}`, ['z']))

    expect(await drain()).toBe('x0 z0 y0 x1 z1 y1 x2 z2 y2')
  })

  test('a flow saves no turns while it has no jobs', async () => {
    const { add, drain, ends } = controlled()
    add('b0', ['b'])
    many(6, (i) => add(`a${i}`, ['a']))
    for (let turns = 0; turns < 4; turns++) {
      ends.shift()?.()
      await settled()
    }

    many(3, (i) => add(`b${i + 1}`, ['b']))

    expect(await drain()).toBe('b0 a0 a1 a2 a3 b1 a4 b2 a5 b3')
  })

  test('a preferred job runs first, for one turn of its flow', async () => {
    const { add, drain } = controlled()
    add('running', ['x'])
    for (const name of ['a', 'b', 'c']) add(name, [name])
    many(3, (i) => add(`known${i}`, ['d'], { preferred: true }))

    expect(await drain()).toBe('running known0 a b c known1 known2')
  })

  test('runs as many jobs at once as the concurrency allows', async () => {
    const { add, started, queue } = controlled({ concurrency: 3 })
    many(5, (i) => add(`a${i}`, ['a']))

    expect(started).toEqual(['a0', 'a1', 'a2'])
    expect(queue.load()).toEqual({ running: 3, waiting: 2 })
  })

  test('continues after a job that fails, and passes its error on', async () => {
    const queue = createFairQueue({ concurrency: 1, capacity: 1 })
    const job = { flows: [{ name: 'a', shares: 1 }], preferred: false }
    const failing = queue.add(job, async () => {
      throw new Error('failed')
    })
    const next = queue.add(job, async () => 'done')

    await expect(failing).rejects.toThrow('failed')
    expect(await next).toBe('done')
  })
})

describe('a full queue refuses [G10]', () => {
  test('the newest job of the flow with the most waiting jobs', async () => {
    const { add, drain, refused } = controlled({ capacity: 5 })
    add('running', ['x'])
    many(3, (i) => add(`a${i}`, ['a']))
    many(2, (i) => add(`b${i}`, ['b']))

    add('new', ['c'])
    await settled()

    expect(refused).toEqual(['a2: overloaded'])
    expect(await drain()).toBe('running a0 b0 new a1 b1')
  })

  test('the new job, if its flow has the most waiting jobs', async () => {
    const { add, queue, refused } = controlled({ capacity: 4 })
    many(3, (i) => add(`a${i}`, ['a']))
    many(2, (i) => add(`b${i}`, ['b']))

    const job = add('a3', ['a'])
    await settled()

    expect(refused).toEqual(['a3: overloaded'])
    expect(queue.isFullFor(job)).toBe(true)
    expect(queue.isFullFor({ flows: [{ name: 'c', shares: 1 }], preferred: false })).toBe(false)
  })

  test('a job of an account that many addresses try', async () => {
    const { add, refused } = controlled({ capacity: 5 })
    many(6, (i) => add(`a${i}`, [`address ${i}`, 'account']))

    add('new', ['elsewhere', 'another account'])
    await settled()

    expect(refused).toEqual(['a5: overloaded'])
  })

  test('a job of an address with many accounts', async () => {
    const { add, refused } = controlled({ capacity: 5 })
    many(6, (i) => add(`a${i}`, ['address', `account ${i}`]))

    add('new', ['elsewhere', 'another account'])
    await settled()

    expect(refused).toEqual(['a5: overloaded'])
  })

  test('a job of a network with many shares, as soon as its load is above that of a new flow [G10]', async () => {
    const { add, refused } = controlled({ capacity: 32 })
    add('running', ['x'])
    for (const network of ['a', 'b'])
      many(16, (i) => add(`${network}${i}`, [{ name: network, shares: 16 }, `${network} ${i}`]))

    add('new', ['address', 'account'])
    await settled()

    expect(refused).toEqual(['b15: overloaded'])
  })

  test('a job of a flow that had a turn, and not of a new flow, if all have one job [G10]', async () => {
    const { add, refused, ends, started } = controlled({ capacity: 4 })
    many(4, (i) => add(`${i}`, [`address ${i}`]))
    for (const again of ['0', '1']) {
      ends.shift()?.()
      await settled()
      add(`${again} again`, [`address ${again}`])
    }
    expect(started).toEqual(['0', '1', '2'])

    add('another', ['elsewhere'])
    add('new', ['new address'])
    await settled()

    expect(refused).toEqual(['1 again: overloaded'])
  })

  test('no preferred job, if others have the same load', async () => {
    const { add, refused } = controlled({ capacity: 2 })
    for (const name of ['running', 'a', 'b']) add(name, [name])

    add('known', ['c'], { preferred: true })
    add('late', ['d'])
    await settled()

    expect(refused).toEqual(['b: overloaded', 'late: overloaded'])
  })

  test('also a preferred job, if its flow has the most waiting jobs', async () => {
    const { add, refused } = controlled({ capacity: 3 })
    add('running', ['x'])
    many(3, (i) => add(`known${i}`, ['a'], { preferred: true }))

    add('new', ['b'])
    await settled()

    expect(refused).toEqual(['known2: overloaded'])
  })
})

describe('a job that aborts', () => {
  test('leaves the queue and makes room', async () => {
    const { add, drain, refused } = controlled({ capacity: 2 })
    const gone = new AbortController()
    add('running', ['x'])
    add('a', ['a'], { gone: gone.signal })
    add('b', ['b'])

    gone.abort()
    add('c', ['c'])
    await settled()

    expect(refused).toEqual(['a: overloaded'])
    expect(await drain()).toBe('running b c')
  })

  test('does not begin if it aborted before it was added', async () => {
    const { add, started, refused } = controlled()

    add('a', ['a'], { gone: AbortSignal.abort() })
    await settled()

    expect([started, refused]).toEqual([[], ['a: overloaded']])
  })

  test('continues if it has begun', async () => {
    const { add, drain, refused } = controlled()
    const gone = new AbortController()
    add('a', ['a'], { gone: gone.signal })

    gone.abort()

    expect(await drain()).toBe('a')
    expect(refused).toEqual([])
  })
})

test('a known device among 1,000 strangers that arrive at once waits for one turn', async () => {
  const { add, drain, refused, started } = controlled({ capacity: 32 })
  many(1000, (i) => add(`stranger${i}`, [`address ${i}`, `account ${i}`]))

  add('known', ['home', 'owner'], { preferred: true })

  await drain()
  expect(started.slice(0, 2)).toEqual(['stranger0', 'known'])
  expect(refused).toHaveLength(1001 - started.length)
})
