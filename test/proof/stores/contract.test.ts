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

// Leaves out what a store cannot do.
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
    test('a lone version has its id, its creation time and its state', async () => {
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

    test('are the ten newest, newest first, in the order of their dates', async () => {
      const secrets: string[] = []
      for (let count = 0; count < 12; count++) {
        secrets.unshift(newSecret())
        await store.put(name, secrets[0] as string)
      }

      const first = await values(source)

      // Versions of the same second may have any order, but the same order on every instance.
      expect(first).toHaveLength(10)
      expect(secrets).toEqual(expect.arrayContaining(first))
      expect(await values(open(store.reference(name)))).toEqual(first)
      const dates = (await source.history()).map(({ createdAt }) => createdAt)
      expect(dates).toEqual([...dates].sort((a, b) => b - a))
    })

    test('a new version comes first at the next read', async () => {
      const [first, second] = [newSecret(), newSecret()]
      await store.put(name, first)
      await source.versions()
      await nextSecond()
      await store.put(name, second)

      expect(await values(source)).toEqual([second, first])
    })

    test('rotate writes the newest version, and keeps the others', async () => {
      const [first, second] = [newSecret(), newSecret()]
      await store.put(name, first)
      await nextSecond()

      await source.rotate?.(second)

      expect(await values(source)).toEqual([second, first])
    })
  })

  if (store.disable || store.destroy)
    describe('withdrawn versions [E3]', () => {
      beforeEach(async () => {
        await store.put(name, 'the older')
        await nextSecond()
        await store.put(name, 'the newer')
      })

      ifIt(store.disable)(
        'a disabled version is not used at the next read, and is used again when it is enabled',
        async () => {
          const [newer = ''] = await ids(source)

          await store.disable?.(name, newer)
          expect(await values(source)).toEqual(['the older'])
          expect(await states(source)).toEqual(['disabled', 'enabled'])

          await store.enable?.(name, newer)
          expect(await values(source)).toEqual(['the newer', 'the older'])
        },
      )

      ifIt(store.destroy)('a destroyed version is not used again, even if it is not the newest', async () => {
        const [, older = ''] = await ids(source)

        await store.destroy?.(name, older)

        expect(await values(source)).toEqual(['the newer'])
        expect(await states(source)).toEqual(['enabled', 'destroyed'])
      })

      ifIt(store.disable)('with all versions disabled there is no version, and no error', async () => {
        for (const id of await ids(source)) await store.disable?.(name, id)

        expect(await values(source)).toEqual([])
      })

      ifIt(store.disable)('rotate works on top of a disabled version', async () => {
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

      test('is read by its name, and rotated without a change to the others', async () => {
        await store.put(name, JSON.stringify({ ACCESS: 'first', REFRESH: 'other' }))
        await nextSecond()
        const access = field('ACCESS')

        await access.rotate?.('second')

        expect(await values(access)).toEqual(['second', 'first'])
        expect(await values(field('REFRESH'))).toEqual(['other'])
      })

      test('that did not change keeps its age', async () => {
        await store.put(name, JSON.stringify({ ACCESS: 'first', REFRESH: 'other' }))
        const [before] = await field('REFRESH').versions()
        await nextSecond()
        await field('ACCESS').rotate?.('second')

        expect(await field('REFRESH').versions()).toEqual([before])
      })

      test.each([
        ['missing', { OTHER: 'x' }],
        ['not text', { ACCESS: 1 }],
        ['an inherited member', { toString: undefined }],
      ])('that is %s is reported, with what to do', async (_what, object) => {
        await store.put(name, JSON.stringify(object))

        expect(await field('ACCESS').versions()).toEqual([
          expect.objectContaining({
            value: '',
            problem: expect.stringMatching(/has no text in its field ACCESS. Write/),
          }),
        ])
      })

      test('that is missing in an older version does not stop the use of the newer version', async () => {
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
    describe('bad content is a problem of its version only', () => {
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

  describe('failures have names, and say what to do', () => {
    ifIt(store.tellsAbsence)('absent, with the command that creates the secret [E4]', async () => {
      const { fault, message } = await failure(source.versions())

      expect(fault).toBe('absent')
      expect(message).toMatch(/: \w+ .*(create|add|put|set)/)
    })

    ifIt(store.deniedEnvironment)('denied, with what to grant [E4]', async () => {
      await store.put(name, newSecret())
      const denied = open(store.reference(name), await store.deniedEnvironment?.())

      const { fault, message } = await failure(denied.versions())

      expect(fault).toBe('denied')
      expect(message).toMatch(/grant|role|policy/)
    })

    const stoppable = control ? describe : describe.skip
    stoppable('an outage', () => {
      afterEach(() => control?.('up', store.service))

      test('a frozen store is unreachable within 12 s, and read again after it thaws [E5]', async () => {
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

      test('a killed store is unreachable, and read again within 5 s of its return [E4]', async () => {
        await store.put(name, newSecret())
        await source.versions()
        await control?.('kill', store.service)
        const before = performance.now()

        const { fault } = await failure(source.versions())

        expect(fault).toBe('unreachable')
        expect(performance.now() - before).toBeLessThan(12_000)
        await control?.('up', store.service)
        // Most of these stores forget their secrets. Wait, because some count whole seconds: the new first version must not
        // have the time of the old one.
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
