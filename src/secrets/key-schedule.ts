// When keys sign and when they retire. Dates alone decide, so servers agree without messages.
import type { Algorithm, Key } from './key.ts'
import type { SecretVersion } from './sources.ts'

/** The state of a key. All but retired keys verify. Times are in milliseconds since 1970. */
export type KeyState =
  | { kind: 'published'; signsAt: number }
  | { kind: 'signing' }
  /** If `retiresAt` is undefined, the key verifies until its source no longer has it. */
  | { kind: 'verifying'; retiresAt: number | undefined }
  | { kind: 'retired' }

/** A key as it was loaded, without a place in the rotation yet. */
export interface LoadedKey extends Key {
  version: Omit<SecretVersion, 'value'>
  /** When this server read it first. */
  readAt: number
}

/** A key with its place in the rotation. */
export interface PlannedKey extends LoadedKey {
  /** When servers could read it. Later than the creation time of the version if it appeared late. */
  countsFrom: number
  state: KeyState
}

/** What decides how long a key lives. */
export interface Lives {
  /** The load interval: how often the server loads the secrets again. */
  reloadSeconds: number
  /** The longest lifetime of the tokens that the keys sign. */
  tokenSeconds: number
  algorithm: Algorithm
}

/** The longest lifetime of a link in a mail. The keys of refresh tokens sign links too. */
export const linkSeconds = 72 * 60 * 60

// Stores round times and loads take time. So a new key waits a little longer than one load interval.
const marginMs = 2_000
// Other services keep public keys for 30 s. After an unknown kid they fetch at most every 30 s.
const publicKeyMs = 60_000

function stagingMs({ reloadSeconds, algorithm }: Lives): number {
  const loadedMs = reloadSeconds * 1000 + marginMs
  return algorithm === 'HS256' ? loadedMs : loadedMs + publicKeyMs
}

/**
 * Returns how long a key verifies after the creation of its successor, in milliseconds. Another server may see the
 * successor one interval later, and sign that much longer.
 */
export const verifyingMs = (lives: Lives) => 2 * stagingMs(lives) + lives.tokenSeconds * 1000

/**
 * Plans the states of all versions: published -> signing -> verifying -> retired. The newest version signs once every
 * server had time to load it. It verifies before then, because another server may sign with it first. The version
 * before it verifies until its last token has expired. The oldest version, and the one that signs already, never wait.
 * @param current the plan so far
 * @param versions newest first
 */
export function planKeys(
  now: number,
  current: PlannedKey[],
  versions: LoadedKey[],
  lives: Lives,
): PlannedKey[] {
  const isReady = ({ state }: PlannedKey) =>
    state.kind === 'signing' || (state.kind === 'published' && state.signsAt <= now)
  const signedBefore = current.find(isReady)

  const dated = versions.flatMap((key) => {
    const { createdAt } = key.version
    if (createdAt === undefined) return withEarlierValues(key)
    return { ...key, countsFrom: appearance(key.kid, createdAt) }
  })
  const timed = dated.map((key, index) => {
    const isOldest = index === dated.length - 1
    const successor = dated[index - 1]
    return {
      ...key,
      signsAt: isOldest || key.kid === signedBefore?.kid ? now : key.countsFrom + stagingMs(lives),
      retiresAt: successor && successor.countsFrom + verifyingMs(lives),
    }
  })
  const signsNow = timed.find(({ signsAt }) => signsAt <= now)
  return timed.map(({ signsAt, retiresAt, ...key }) => ({
    ...key,
    state: stateOf(key.kid, signsAt, retiresAt),
  }))

  // If the source keeps no history, adds its earlier values. Leaves out values that never signed, because they may have
  // been mistakes.
  function withEarlierValues(key: LoadedKey) {
    if (key.kid === current[0]?.kid) return current
    const earlier = current.filter(
      (other) => other.kid !== key.kid && (other.state.kind !== 'published' || isReady(other)),
    )
    return [{ ...key, countsFrom: earlier.length > 0 ? now : 0 }, ...earlier]
  }

  // A version is as old as its store says, unless servers could not read it until now: it was disabled, created during
  // an outage, or dated by a slow clock. Then it counts from now on, so that the keys in use continue as usual.
  function appearance(kid: string, createdAt: number): number {
    const known = current.find((key) => key.kid === kid && key.version.createdAt === createdAt)
    if (known) return known.countsFrom
    const isLate = signedBefore !== undefined && createdAt + stagingMs(lives) < now
    return isLate ? now : createdAt
  }

  // The key that signs is never retired here. Its successor does not sign yet, and a key retires only some time after
  // its successor began to sign.
  function stateOf(kid: string, signsAt: number, retiresAt: number | undefined): KeyState {
    if (retiresAt !== undefined && retiresAt <= now) return { kind: 'retired' }
    if (kid === signsNow?.kid) return { kind: 'signing' }
    return signsAt > now ? { kind: 'published', signsAt } : { kind: 'verifying', retiresAt }
  }
}

/** Returns when time alone changes the next state, in milliseconds since 1970; undefined if it changes none. */
export function earliestChange(keys: PlannedKey[]): number | undefined {
  const times = keys.flatMap(({ state }) => {
    if (state.kind === 'published') return [state.signsAt]
    return state.kind === 'verifying' && state.retiresAt !== undefined ? [state.retiresAt] : []
  })
  return times.length > 0 ? Math.min(...times) : undefined
}
