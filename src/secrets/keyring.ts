import type { JsonWebKey, KeyObject } from 'node:crypto'
import { type Algorithm, type Key, toKey } from './key.ts'
import type { SecretVersion } from './sources.ts'

/** All keys of one purpose. */
export interface Keyring {
  /** The key to sign with now; undefined where no key is usable. */
  signingKey(): Key | undefined
  /** The key of this `kid`, if it may verify now. */
  verificationKey(kid: string): KeyObject | undefined
  /** The public halves of all keys that verify now or will soon, as JWKs; none of shared secrets. */
  publicKeys(): JsonWebKey[]
  /** Every key there is, with its state now, newest first. */
  states(): KeyStatus[]
  /** When the next key changes its state by time alone; infinite where none will. */
  nextChange(): number
  /**
   * Replaces all keys by those of `versions`, newest first, and of `previous`, which verify and never sign. A store
   * without a history gives its one value undated: then what it gave before counts as the older versions.
   */
  update(versions: SecretVersion[], previous: SecretVersion[]): void
}

export type KeyState = 'published' | 'signing' | 'verifying' | 'retired'

/** What may be told of a key. */
export interface KeyStatus {
  kid: string
  state: KeyState
  source: string
  /** Its version's id in its store, and when that was made (milliseconds since 1970); missing without a history. */
  version?: string
  createdAt?: number
  /**
   * Since when the key has existed at least (milliseconds since 1970): by its store, by the last change of its file, else
   * since this server read it first.
   */
  since: number
}

interface DatedKey extends Key {
  from: Omit<SecretVersion, 'value'>
  createdAt: number
  /** When this server read it first. */
  readAt: number
}

interface StagedKey extends DatedKey {
  signsAt: number
  retiresAt: number
}

// Stores round times and loads take time, so a new key waits a little longer than one refresh interval.
const marginMs = 2_000
// Other services keep the public keys for 30 s, and after an unknown kid ask again no more often than every 30 s.
const publicKeyMs = 60_000

interface Lives {
  refreshSeconds: number
  /** The longest lifetime of the tokens that the keys sign. */
  tokenSeconds: number
  algorithm: Algorithm
}

function stagingMsOf({ refreshSeconds, algorithm }: Lives): number {
  const loadedMs = refreshSeconds * 1000 + marginMs
  return algorithm === 'HS256' ? loadedMs : loadedMs + publicKeyMs
}

/** Returns how long after the creation of its successor a key may have tokens that are valid, in milliseconds. */
export const verifyingMs = (lives: Lives) => 2 * stagingMsOf(lives) + lives.tokenSeconds * 1000

/**
 * A key lives through published -> signing -> verifying -> retired. The newest version signs once every instance
 * can be expected to have loaded it: one refresh interval and a margin after its creation. The one before it
 * verifies until the longest-lived token that it signed has expired.
 */
export function createKeyring(options: Lives & { clock: () => number }): Keyring {
  const { clock, algorithm } = options
  const stagingMs = stagingMsOf(options)
  let signing: StagedKey[] = []
  let byKid = new Map<string, StagedKey>()

  const signingKey = () => signing.find((key) => key.signsAt <= clock())

  function stateOf({ kid, signsAt, retiresAt }: StagedKey): KeyState {
    if (retiresAt <= clock()) return 'retired'
    if (kid === signingKey()?.kid) return 'signing'
    return signsAt > clock() && signsAt < Infinity ? 'published' : 'verifying'
  }

  return {
    signingKey,
    verificationKey(kid) {
      const found = byKid.get(kid)
      return found && clock() < found.retiresAt ? found.verifies : undefined
    },
    publicKeys() {
      const now = clock()
      return [...byKid.values()].flatMap(({ publicKey, retiresAt }) =>
        publicKey && now < retiresAt ? [publicKey] : [],
      )
    },
    states() {
      return [...byKid.values()].reverse().map((key) => ({
        kid: key.kid,
        state: stateOf(key),
        source: key.from.source,
        ...(key.from.id && { version: key.from.id }),
        ...(key.from.createdAt && { createdAt: key.from.createdAt }),
        since: key.from.createdAt ?? key.from.modifiedAt ?? key.readAt,
      }))
    },
    nextChange() {
      const times = signing.flatMap(({ signsAt, retiresAt }) => [signsAt, retiresAt])
      return Math.min(...times.filter((time) => time > clock()), Infinity)
    },
    update(versions, previous) {
      const signer = signingKey()?.kid
      const dated = withHistory(versions)
      signing = dated.map((key, index) => {
        const successor = dated[index - 1]
        const oldest = index === dated.length - 1
        return {
          ...key,
          signsAt: oldest || key.kid === signer ? 0 : key.createdAt + stagingMs,
          // Another instance may have seen the successor one interval later, and signed that much longer.
          retiresAt: successor ? successor.createdAt + verifyingMs(options) : Infinity,
        }
      })
      const verifying = previous.map(({ value, ...from }) => ({
        ...readKey(value),
        from,
        createdAt: 0,
        signsAt: Infinity,
        retiresAt: Infinity,
      }))
      // Where a value came back after another one, its newest version counts.
      byKid = new Map([...verifying, ...signing.toReversed()].map((key) => [key.kid, key]))
    },
  }

  function readKey(value: string): Key & { readAt: number } {
    const key = toKey(value, algorithm)
    return { ...key, readAt: byKid.get(key.kid)?.readAt ?? clock() }
  }

  function withHistory(versions: SecretVersion[]): DatedKey[] {
    return versions.flatMap(({ value, ...from }) => {
      const key = { ...readKey(value), from }
      if (from.createdAt !== undefined) return { ...key, createdAt: appearance(key.kid, from.createdAt) }
      if (key.kid === signing[0]?.kid) return signing
      // One that was replaced before it signed has no tokens, and may have been a mistake.
      const older = signing.filter(({ kid, signsAt }) => kid !== key.kid && signsAt <= clock())
      return [{ ...key, createdAt: older.length > 0 ? clock() : 0 }, ...older]
    })
  }

  // A version is as old as its store says, unless it was not to be seen until now: enabled again, made while the store
  // was out of reach, or dated by a clock that is behind. The keys at work then go on as if it had been made now.
  function appearance(kid: string, createdAt: number): number {
    const known = signing.find((key) => key.kid === kid && key.from.createdAt === createdAt)
    if (known) return known.createdAt
    const late = signingKey() !== undefined && createdAt + stagingMs < clock()
    return late ? clock() : createdAt
  }
}
