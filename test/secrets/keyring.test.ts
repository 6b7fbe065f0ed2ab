import { createHash, randomBytes } from 'node:crypto'
import { beforeEach, describe, expect, test } from '@jest/globals'
import { newPrivateKey } from '../../src/secrets/cli/generate.ts'
import { createKeyring, type Keyring } from '../../src/secrets/keyring.ts'
import type { SecretVersion } from '../../src/secrets/sources.ts'

const reloadSeconds = 60
const tokenSeconds = 900
// Every instance has loaded a version after one interval and a margin.
const stagingMs = (reloadSeconds + 2) * 1000

let now: number
const clock = () => now
const newKeyring = () => createKeyring({ reloadSeconds, tokenSeconds, clock, algorithm: 'HS256' })
const version = (createdAt: number): SecretVersion => ({
  value: randomBytes(32).toString('base64url'),
  createdAt,
  source: 'a test',
})

/** Returns the kid of a version. */
const kidOf = ({ value }: SecretVersion): string => {
  const ring = newKeyring()
  ring.update([{ value, createdAt: 0, source: 'a test' }], [])
  return ring.signingKey()?.kid ?? ''
}
const signs = (ring: Keyring) => ring.signingKey()?.kid
const verifies = (ring: Keyring, { value }: SecretVersion) =>
  ring
    .verificationKey(kidOf({ value, createdAt: 0, source: 'a test' }))
    ?.export()
    .toString() === value

let ring: Keyring
beforeEach(() => {
  now = 0
  ring = newKeyring()
})

describe('the life of a key', () => {
  const t0 = 1_700_000_000_000
  const [old, young] = [version(0), version(t0)]
  beforeEach(() => ring.update([young, old], []))

  test('published: verifies but does not sign, until one refresh interval and a margin have passed [E3]', () => {
    for (now of [t0, t0 + stagingMs - 1]) {
      expect(signs(ring)).toBe(kidOf(old))
      expect([verifies(ring, young), verifies(ring, old)]).toEqual([true, true])
    }
  })

  test('signing: takes over at that time [E3]', () => {
    now = t0 + stagingMs

    expect(signs(ring)).toBe(kidOf(young))
    expect([verifies(ring, young), verifies(ring, old)]).toEqual([true, true])
  })

  test('verifying: still verifies until its last token has expired [E3]', () => {
    now = t0 + stagingMs + tokenSeconds * 1000 - 1

    expect(signs(ring)).toBe(kidOf(young))
    expect(verifies(ring, old)).toBe(true)
  })

  test('retired: no longer verifies after that [E3]', () => {
    // The last instance notices the change one interval later, and signs with the old key that much longer.
    now = t0 + 2 * stagingMs + tokenSeconds * 1000

    expect(verifies(ring, old)).toBe(false)
    expect([signs(ring), verifies(ring, young)]).toEqual([kidOf(young), true])
  })

  test('never ends by time for the newest version [E3]', () => {
    now = t0 + 100 * 365 * 86_400_000

    expect([signs(ring), verifies(ring, young)]).toEqual([kidOf(young), true])
  })
})

describe('versions', () => {
  test('a single version signs at once, however young', () => {
    const lone = version(now)

    ring.update([lone], [])

    expect([signs(ring), verifies(ring, lone)]).toEqual([kidOf(lone), true])
  })

  test('several published versions take over one after the other', () => {
    const [first, second, third] = [version(0), version(10_000), version(20_000)]
    ring.update([third, second, first], [])

    const signers = [
      10_000 + stagingMs - 1,
      10_000 + stagingMs,
      20_000 + stagingMs - 1,
      20_000 + stagingMs,
    ].map((time) => {
      now = time
      return signs(ring)
    })

    expect(signers).toEqual([first, second, second, third].map(kidOf))
  })

  test('a withdrawn version is dropped at once, whatever its age [E3]', () => {
    const [old, young] = [version(0), version(0)]
    ring.update([young, old], [])

    ring.update([young], [])
    expect([signs(ring), verifies(ring, old)]).toEqual([kidOf(young), false])

    ring.update([old], [])
    expect([signs(ring), verifies(ring, young), verifies(ring, old)]).toEqual([kidOf(old), false, true])
  })

  test('without versions there is no key', () => {
    const lone = version(0)
    ring.update([lone], [])

    ring.update([], [])

    expect([signs(ring), verifies(ring, lone)]).toEqual([undefined, false])
  })

  test('a version that appears late counts from then on: it waits to sign, and nobody is logged out [E3]', () => {
    const [old, young] = [version(0), version(100_000)]
    ring.update([old], [])

    // It was enabled again, or created during an outage.
    now = 100_000 + 10 * 86_400_000
    ring.update([young, old], [])

    expect(signs(ring)).toBe(kidOf(old))
    now += stagingMs
    ring.update([young, old], [])
    expect([signs(ring), verifies(ring, old)]).toEqual([kidOf(young), true])
    now += stagingMs + tokenSeconds * 1000
    ring.update([young, old], [])
    expect([signs(ring), verifies(ring, old)]).toEqual([kidOf(young), false])
  })

  test('a wrong value of a file that was corrected before it signed never signs [E3]', () => {
    const [old, wrong, right] = [version(0), version(0), version(0)].map(({ value, source }) => ({
      value,
      source,
    })) as [SecretVersion, SecretVersion, SecretVersion]
    ring.update([old], [])
    now = 1_000
    ring.update([wrong], [])

    now = 2_000
    ring.update([right], [])

    const signers = [stagingMs, 1_000 + stagingMs, 2_000 + stagingMs].map((time) => {
      now = time
      return signs(ring)
    })
    expect(signers).toEqual([old, old, right].map(kidOf))
    expect(verifies(ring, wrong)).toBe(false)
  })

  test('a value that comes back after another one signs again, and does not retire by its first date [E3]', () => {
    const [first, second] = [version(0), version(100_000)]
    ring.update([{ ...first, createdAt: 200_000 }, second, first], [])

    now = 200_000 + stagingMs
    expect(signs(ring)).toBe(kidOf(first))
    now += 10 * (stagingMs + tokenSeconds * 1000)
    expect([verifies(ring, first), verifies(ring, second)]).toEqual([true, false])
  })

  test('a previous version verifies and never signs [E3]', () => {
    const [current, previous] = [version(0), version(0)]

    ring.update([current], [previous])
    now = 1e12
    expect([signs(ring), verifies(ring, previous)]).toEqual([kidOf(current), true])

    ring.update([], [previous])
    expect([signs(ring), verifies(ring, previous)]).toEqual([undefined, true])

    ring.update([current], [])
    expect(verifies(ring, previous)).toBe(false)
  })
})

describe('the report of the keys', () => {
  test('has the state, source and age of each key, and nothing of its value [E6]', () => {
    const [young, middle, old, previous] = [version(900_000), version(500_000), version(1), version(0)]
    now = 900_000
    ring.update([{ ...young, id: '3' }, middle, old], [previous])
    const about = (key: SecretVersion) => ({ kid: kidOf(key), source: 'a test' })

    expect(ring.states()).toEqual([
      { ...about(young), state: 'published', version: '3', createdAt: 900_000, since: 900_000 },
      { ...about(middle), state: 'signing', createdAt: 500_000, since: 500_000 },
      { ...about(old), state: 'verifying', createdAt: 1, since: 1 },
      { ...about(previous), state: 'verifying', since: 0 },
    ])
    now = 500_000 + 2 * stagingMs + tokenSeconds * 1000
    expect(ring.states().map(({ state }) => state)).toEqual(['signing', 'verifying', 'retired', 'verifying'])
  })

  test('dates a key by its store, by its file, or by its first read', () => {
    const since = () => Object.fromEntries(ring.states().map((key) => [key.kid, key.since]))
    const withoutDate = (): SecretVersion => ({ value: version(0).value, source: 'a test' })
    const [current, previous] = [withoutDate(), withoutDate()]
    const stored = version(7_000)
    now = 10_000
    ring.update([current], [previous])
    now = 50_000
    ring.update([current], [previous])
    expect(since()).toEqual({ [kidOf(current)]: 10_000, [kidOf(previous)]: 10_000 })

    ring.update([stored], [{ ...previous, modifiedAt: 3_000 }])
    expect(since()).toMatchObject({ [kidOf(stored)]: 7_000, [kidOf(previous)]: 3_000 })
  })

  test('says when time changes the next state', () => {
    const [young, old] = [version(100_000), version(0)]
    ring.update([young, old], [])

    expect(ring.nextChange()).toBe(100_000 + stagingMs)
    now = 100_000 + stagingMs
    expect(ring.nextChange()).toBe(100_000 + 2 * stagingMs + tokenSeconds * 1000)
    now = ring.nextChange() ?? 0
    expect(ring.nextChange()).toBeUndefined()
  })

  test('publishes a public key for 60 s on every instance before its private key signs [E3]', () => {
    const [young, old] = [newPrivateKey('ES256'), newPrivateKey('ES256')]
    const ring = createKeyring({ reloadSeconds, tokenSeconds, clock, algorithm: 'ES256' })
    const kids = () => ring.publicKeys().map(({ kid }) => kid)
    ring.update([{ value: old, createdAt: 0, source: 'a test' }], [])
    const oldKid = ring.signingKey()?.kid

    now = 1_000_000
    ring.update(
      [young, old].map((value, index) => ({ value, createdAt: [now, 0][index] as number, source: 'a test' })),
      [],
    )
    const staged = now + stagingMs + 60_000

    expect(kids()).toHaveLength(2)
    now = staged - 1
    expect(ring.signingKey()?.kid).toBe(oldKid)
    now = staged
    expect(ring.signingKey()?.kid).not.toBe(oldKid)
    expect(kids()).toContain(oldKid)
    now = 1_000_000 + 2 * (stagingMs + 60_000) + tokenSeconds * 1000
    expect(kids()).toEqual([ring.signingKey()?.kid])
  })
})

describe('kid', () => {
  test('follows from the key alone, so that instances agree', () => {
    const secret = version(0)
    const [here, there] = [newKeyring(), newKeyring()]
    here.update([secret], [])
    there.update([version(5), { ...secret, createdAt: 4 }], [version(0)])

    const kid = signs(here) ?? ''

    expect(kid).toMatch(/^[\w-]{16}$/)
    expect(there.verificationKey(kid)?.export().toString()).toBe(secret.value)
  })

  test('differs for different keys', () => {
    const kids = new Set(Array.from({ length: 500 }, () => kidOf(version(0))))

    expect(kids.size).toBe(500)
  })

  // Attackers could look up a digest of the secret. A guess must cost as much as with any token.
  test('is neither a part of the secret nor a plain digest of it [E6]', () => {
    const secret = version(0)
    const kid = kidOf(secret)

    expect(secret.value).not.toContain(kid)
    for (const algorithm of ['sha256', 'sha1', 'md5', 'sha512'])
      expect(createHash(algorithm).update(secret.value).digest('base64url')).not.toContain(kid)
  })

  test.each([
    '',
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    '../../etc/passwd',
    '/dev/null',
    "' OR 1=1 --",
    "x' UNION SELECT 'key' --",
    '|cat /etc/passwd',
    '\0',
    'a'.repeat(100_000),
  ])('%j is only looked up in a Map [A3]', (kid) => {
    const secret = version(0)
    ring.update([secret], [version(0)])

    expect(ring.verificationKey(kid)).toBeUndefined()
    expect([signs(ring), verifies(ring, secret)]).toEqual([kidOf(secret), true])
  })
})

describe('two instances that load at different moments', () => {
  const [old, young] = [version(0), version(0)]
  // A file has no dates. Each instance dates a change by when it noticed it, up to one interval apart.
  const noticedAt = [100_000, 100_000 + reloadSeconds * 1000] as const
  const instances = noticedAt.map((createdAt) => ({ createdAt, ring: newKeyring() }))
  const load = () => {
    for (const { ring, createdAt } of instances)
      ring.update(now >= createdAt ? [{ ...young, createdAt }, old] : [old], [])
  }

  test('never reject a token of each other, from its first second to its last [E3]', () => {
    const rejected: string[] = []
    const issued: { kid: string; at: number; from: number }[] = []
    for (now = 90_000; now <= 1_300_000; now += 1_000) {
      load()
      instances.forEach(({ ring }, from) => {
        if (now <= 300_000) issued.push({ kid: signs(ring) ?? 'none', at: now, from })
      })
      for (const { kid, at, from } of issued)
        if (now < at + tokenSeconds * 1000)
          instances.forEach(({ ring }, by) => {
            if (!ring.verificationKey(kid)) rejected.push(`of ${from} at ${at}, by ${by}`)
          })
    }

    expect(rejected.slice(0, 3)).toEqual([])
    expect(new Set(issued.map(({ kid }) => kid))).toEqual(new Set([kidOf(old), kidOf(young)]))
  })
})
