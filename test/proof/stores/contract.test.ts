import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { newSecret } from '../../../src/secrets/cli/generate.ts'
import { SourceError, type SourceFault } from '../../../src/secrets/source-error.ts'
import { createSources, type SecretSource } from '../../../src/secrets/sources.ts'
import { control } from './store-under-test.ts'
import { stores } from './stores.ts'

/** Some stores date versions by whole seconds. */
const nextSecond = () => delay(1_100)

// What a store has not got, there is nothing to test of.
type Case = (name: string, run: () => Promise<void>) => void
const ifIt = (can: unknown): Case => (can ? test : () => {})

const values = async (source: SecretSource) => (await source.versions()).map(({ value }) => value)
const ids = async (source: SecretSource) => (await source.history()).map(({ id }) => id)
const states = async (source: SecretSource) => (await source.history()).map(({ state }) => state)

async function failure(action: Promise<unknown>): Promise<{ fault: SourceFault; message: string }> {
  const result = await action.catch((error: unknown) => error)
  if (result instanceof SourceError) return result
  throw new Error(`expected a SourceError, got ${result}`)
}

describe.each(stores)('$name', (store) => {
  let name: string
  let source: SecretSource
  const open = (reference: string, environment = store.environment) => createSources(environment)(reference)
  beforeEach(() => {
    name = `contract-${randomUUID()}`
    source = open(store.reference(name))
  })

  describe('versions', () => {
    test('a lone version is there, with its id, the time it was made at and its state', async () => {
      const before = Date.now()
      const secret = newSecret()
      await store.put(name, secret)

      const [version, ...others] = await source.versions()

      expect(others).toEqual([])
      expect(version).toEqual({
        value: secret,
        source: store.reference(name),
        id: expect.any(String),
        createdAt: expect.any(Number),
      })
      expect(version?.createdAt).toBeGreaterThan(before - 1_000)
      expect(version?.createdAt).toBeLessThan(Date.now() + 1_000)
      expect(await source.history()).toEqual([
        { id: version?.id, createdAt: version?.createdAt, state: 'enabled' },
      ])
    })

    test('are newest first, however the store lists them, past ten too', async () => {
      const secrets: string[] = []
      for (let count = 0; count < 12; count++) {
        secrets.unshift(newSecret())
        await store.put(name, secrets[0] as string)
      }

      const first = await values(source)

      // Of those of the same second, any order will do, as long as it is the same on every instance.
      expect(first).toHaveLength(10)
      expect(secrets).toEqual(expect.arrayContaining(first))
      expect(await values(open(store.reference(name)))).toEqual(first)
      const dates = (await source.history()).map(({ createdAt }) => createdAt)
      expect(dates).toEqual([...dates].sort((a, b) => b - a))
    })

    test('a version that is written later is there at the next read, before the old one', async () => {
      const [first, second] = [newSecret(), newSecret()]
      await store.put(name, first)
      await source.versions()
      await nextSecond()
      await store.put(name, second)

      expect(await values(source)).toEqual([second, first])
    })

    test('rotate writes the newest version, and leaves the others', async () => {
      const [first, second] = [newSecret(), newSecret()]
      await store.put(name, first)
      await nextSecond()

      await source.rotate?.(second)

      expect(await values(source)).toEqual([second, first])
    })
  })

  if (store.disable || store.destroy)
    describe('E3 withdrawn versions', () => {
      beforeEach(async () => {
        await store.put(name, 'the older')
        await nextSecond()
        await store.put(name, 'the newer')
      })

      ifIt(store.disable)(
        'a disabled one is out of use at the next read, and in use again once enabled',
        async () => {
          const [newer = ''] = await ids(source)

          await store.disable?.(name, newer)
          expect(await values(source)).toEqual(['the older'])
          expect(await states(source)).toEqual(['disabled', 'enabled'])

          await store.enable?.(name, newer)
          expect(await values(source)).toEqual(['the newer', 'the older'])
        },
      )

      ifIt(store.destroy)('a destroyed one is out of use for good, an older one too', async () => {
        const [, older = ''] = await ids(source)

        await store.destroy?.(name, older)

        expect(await values(source)).toEqual(['the newer'])
        expect(await states(source)).toEqual(['enabled', 'destroyed'])
      })

      ifIt(store.disable)('where all are disabled there is none, which is no error', async () => {
        for (const id of await ids(source)) await store.disable?.(name, id)

        expect(await values(source)).toEqual([])
      })

      ifIt(store.disable)('rotate works on top of a disabled one', async () => {
        const [newer = ''] = await ids(source)
        await store.disable?.(name, newer)
        await nextSecond()

        await source.rotate?.('the newest')

        expect(await values(source)).toEqual(['the newest', 'the older'])
      })
    })

  if (store.hasFields)
    describe('a field of a JSON object', () => {
      const field = (field: string) => open(store.reference(name, field))

      test('is read by its name, and rotated without touching the others', async () => {
        await store.put(name, JSON.stringify({ ACCESS: 'first', REFRESH: 'other' }))
        await nextSecond()
        const access = field('ACCESS')

        await access.rotate?.('second')

        expect(await values(access)).toEqual(['second', 'first'])
        expect(await values(field('REFRESH'))).toEqual(['other'])
      })

      test('that did not change keeps the age it has', async () => {
        await store.put(name, JSON.stringify({ ACCESS: 'first', REFRESH: 'other' }))
        const [before] = await field('REFRESH').versions()
        await nextSecond()
        await field('ACCESS').rotate?.('second')

        expect(await field('REFRESH').versions()).toEqual([before])
      })

      test.each([
        ['missing', { OTHER: 'x' }],
        ['no text', { ACCESS: 1 }],
        ['an inherited member', { toString: undefined }],
      ])('that is %s is said to be, and how to mend it', async (_what, object) => {
        await store.put(name, JSON.stringify(object))

        expect(await field('ACCESS').versions()).toEqual([
          expect.objectContaining({
            value: '',
            problem: expect.stringMatching(/has no text in its field ACCESS. Write/),
          }),
        ])
      })

      test('of an older version that had none yet does not keep the newer one from being used', async () => {
        await store.put(name, JSON.stringify({ OTHER: 'x' }))
        await nextSecond()
        await store.put(name, JSON.stringify({ OTHER: 'x', ACCESS: 'secret' }))

        expect(await field('ACCESS').versions()).toEqual([
          expect.objectContaining({ value: 'secret' }),
          expect.objectContaining({ problem: expect.any(String) }),
        ])
      })
    })

  if (Object.values(store.takes).includes(true))
    describe('bad content is a problem of its version, and not the end of the others', () => {
      ifIt(store.takes.binary)('binary', async () => {
        await store.put(name, randomBytes(32))
        await expectUnusable()
      })
      ifIt(store.takes.empty)('empty', async () => {
        await store.put(name, '')
        await expectUnusable()
      })
      ifIt(store.takes.big)('1 MB', async () => {
        await store.put(name, 'x'.repeat(1_000_000))
        await expectUnusable()
      })

      async function expectUnusable() {
        expect(await values(source)).toEqual([''])
        await nextSecond()
        await store.put(name, 'good')
        expect(await values(source)).toEqual(['good', ''])
      }
    })

  describe('failures tell apart, and say how to mend them', () => {
    ifIt(store.tellsAbsence)('E4 absent', async () => {
      const { fault, message } = await failure(source.versions())

      expect(fault).toBe('absent')
      expect(message).toMatch(/: \w+ .*(create|add|put|set)/)
    })

    ifIt(store.deniedEnvironment)('E4 denied: what to grant', async () => {
      await store.put(name, newSecret())
      const denied = open(store.reference(name), await store.deniedEnvironment?.())

      const { fault, message } = await failure(denied.versions())

      expect(fault).toBe('denied')
      expect(message).toMatch(/grant|role|policy/)
    })

    const stoppable = control ? describe : describe.skip
    stoppable('an outage', () => {
      afterEach(() => control?.('up', store.service))

      test('E5 a frozen store: unreachable within 12 s, and read again once it thaws', async () => {
        const secret = newSecret()
        await store.put(name, secret)
        await source.versions()
        await control?.('freeze', store.service)
        const before = performance.now()

        const { fault } = await failure(source.versions())

        expect(fault).toBe('unreachable')
        expect(performance.now() - before).toBeLessThan(12_000)
        await control?.('thaw', store.service)
        expect(await values(source)).toEqual([secret])
      })

      test('E4 a killed store: unreachable, and read again within 5 s of its return', async () => {
        await store.put(name, newSecret())
        await source.versions()
        await control?.('kill', store.service)
        const before = performance.now()

        const { fault } = await failure(source.versions())

        expect(fault).toBe('unreachable')
        expect(performance.now() - before).toBeLessThan(12_000)
        await control?.('up', store.service)
        // Most of the stores here forget what they had. Where times are whole seconds, a first version of the same second
        // as the first one of before would be taken for it.
        await nextSecond()
        const secret = newSecret()
        await store.put(name, secret)
        const deadline = performance.now() + 5_000
        let read: string[] = []
        while (read.length === 0 && performance.now() < deadline) read = await values(source).catch(() => [])
        expect(read).toContain(secret)
      })
    })
  })
})
