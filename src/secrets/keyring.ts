import type { JsonWebKey, KeyObject } from 'node:crypto'
import { type Key, toKey } from './key.ts'
import {
  earliestChange,
  type KeyState,
  type Lives,
  type LoadedKey,
  type PlannedKey,
  planKeys,
} from './key-schedule.ts'
import type { SecretVersion } from './sources.ts'

/** What logs, metrics and the audit may say about a key. */
export interface KeyStatus {
  kid: string
  state: KeyState['kind']
  source: string
  /** The id of its version in its store. Missing without a history, like `createdAt`. */
  version?: string
  /** When its version was created, in milliseconds since 1970. */
  createdAt?: number
  /** The key is at least this old: created, its file modified, or first read by this server, in milliseconds since 1970. */
  since: number
}

/** Keeps all keys of one purpose, and moves them through their states as time passes. */
export function createKeyring({ clock, ...lives }: Lives & { clock: () => number }) {
  let versions: LoadedKey[] = []
  let previous: PlannedKey[] = []
  let planned: PlannedKey[] = []
  let byKid = new Map<string, PlannedKey>()
  let changesAt: number | undefined

  function plan() {
    planned = planKeys(clock(), planned, versions, lives)
    // If a value came back after another one, its newest version counts.
    byKid = new Map([...previous, ...planned.toReversed()].map((key) => [key.kid, key]))
    changesAt = earliestChange(planned)
  }

  function keysNow(): Map<string, PlannedKey> {
    if (changesAt !== undefined && changesAt <= clock()) plan()
    return byKid
  }

  function loadKey({ value, ...version }: SecretVersion): LoadedKey {
    const key = toKey(value, lives.algorithm)
    return { ...key, version, readAt: byKid.get(key.kid)?.readAt ?? clock() }
  }

  return {
    /**
     * Returns the key to sign with now; undefined if no key is usable.
     * @param kid the key that signed before. It signs again while it verifies, because then the tokens are equal
     */
    signingKey(kid?: string): Key | undefined {
      const before = kid === undefined ? undefined : keysNow().get(kid)
      if (before && verifies(before)) return before
      keysNow()
      return planned.find(({ state }) => state.kind === 'signing')
    },
    /** Returns the key of this `kid` if it may verify now. */
    verificationKey(kid: string): KeyObject | undefined {
      const found = keysNow().get(kid)
      return found && verifies(found) ? found.verifies : undefined
    },
    /** Returns the public keys of all keys that may verify now, as JWKs. Shared secrets have none. */
    publicKeys: (): JsonWebKey[] =>
      [...keysNow().values()].filter(verifies).flatMap(({ publicKey }) => (publicKey ? [publicKey] : [])),
    /** Returns every key with its state now, newest first. */
    states: () => [...keysNow().values()].reverse().map(statusOf),
    /** Returns when time alone changes the next state, in milliseconds since 1970; undefined if it changes none. */
    nextChange(): number | undefined {
      keysNow()
      return changesAt
    },
    /**
     * Replaces all keys. The versions are newest first. Those of `newPrevious` verify and never sign. A source without a
     * history gives one undated version: its earlier values then count as the older versions.
     */
    update(newVersions: SecretVersion[], newPrevious: SecretVersion[]): void {
      versions = newVersions.map(loadKey)
      previous = newPrevious.map((version) => ({
        ...loadKey(version),
        countsFrom: 0,
        state: { kind: 'verifying', retiresAt: undefined },
      }))
      plan()
    },
  }
}

export type Keyring = ReturnType<typeof createKeyring>

const verifies = ({ state }: PlannedKey) => state.kind !== 'retired'

function statusOf({ kid, state, version, readAt }: PlannedKey): KeyStatus {
  const { source, id, createdAt, modifiedAt } = version
  return {
    kid,
    state: state.kind,
    source,
    ...(id && { version: id }),
    ...(createdAt && { createdAt }),
    since: createdAt ?? modifiedAt ?? readAt,
  }
}
