import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, jest, test } from '@jest/globals'
import { codeOf } from '../src/errors.ts'
import { retry } from '../src/retry.ts'
import { singleFlight } from '../src/single-flight.ts'

describe('singleFlight', () => {
  test('shares one run between concurrent calls, and starts another one after its end', async () => {
    let runs = 0
    const load = singleFlight(async (step: number) => {
      runs += step
      return runs
    })

    expect(load.running()).toBeUndefined()
    const first = load(1)
    expect(load.running()).toBe(first)
    expect(await Promise.all([first, load(5)])).toEqual([1, 1])
    expect(load.running()).toBeUndefined()
    expect(await load(5)).toBe(6)
  })

  test('gives the error of a run to all its callers, and starts another one after it', async () => {
    const work = jest.fn(async () => 'good').mockRejectedValueOnce(new Error('bad'))
    const load = singleFlight(work)

    expect((await Promise.allSettled([load(), load()])).map(({ status }) => status)).toEqual([
      'rejected',
      'rejected',
    ])
    expect(await load()).toBe('good')
    expect(work).toHaveBeenCalledTimes(2)
  })
})

describe('retry', () => {
  const failing = (times: number) => {
    let tries = 0
    return async () => {
      if (++tries <= times) throw new Error(`failure ${tries}`)
      return tries
    }
  }

  test('pauses after each failure, and returns the first result', async () => {
    const pauses: number[] = []
    const delay = async (ms: number) => void pauses.push(ms)

    expect(await retry(failing(2), { pauseMs: (_error, tries) => 100 * tries, delay })).toBe(3)
    expect(pauses).toEqual([100, 200])
  })

  test('throws the last error if it gives up, or the error that replaces it', async () => {
    const delay = async () => {}
    const pauseMs = (_error: unknown, tries: number) => (tries < 2 ? 1 : undefined)
    const replaced = (error: unknown): number => {
      throw new Error(`gave up: ${(error as Error).message}`)
    }

    await expect(retry(failing(5), { pauseMs, delay })).rejects.toThrow('failure 2')
    await expect(retry(failing(5), { pauseMs: replaced, delay })).rejects.toThrow('gave up: failure 1')
  })
})

test('codeOf returns the code of a system error, and undefined for everything else', () => {
  const read = () => readFileSync('/there/is/no/such/file')

  expect(existsSync('/there')).toBe(false)
  expect([caught(read), new Error('none'), { code: 5 }, null, undefined, 'ENOENT'].map(codeOf)).toEqual([
    'ENOENT',
    ...Array(5),
  ])
})

function caught(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}
