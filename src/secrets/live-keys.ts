import type { KeyObject } from 'node:crypto'
import { AuthError } from '../errors.ts'
import { type Delay, limitTime } from '../retry.ts'
import { singleFlight } from '../single-flight.ts'
import type { Algorithm, Key } from './key.ts'
import { createKeyEvents, type KeyEvent } from './key-events.ts'
import { linkSeconds } from './key-schedule.ts'
import { createKeyring, type Keyring, type KeyStatus } from './keyring.ts'
import { accessSecretOf, type LoadedSecrets, type SecretProblem, type Secrets } from './load-secrets.ts'

/** What `/readyz` says about the keys. Only `stale` stops the service: no key, or the last good keys are too old. */
export type KeysStatus = 'ok' | 'refused' | 'unreachable' | 'stale'

/** The keys of one kind of token. Both functions throw AuthError `unavailable` if no key can be used. */
export interface TokenKeys {
  algorithm: Algorithm
  /** @param kid the key that signed an equal token before, which signs again while it verifies */
  signingKey(kid?: string): Key
  /** Returns the key of a `kid` from a token that is not verified yet; undefined if no such key exists. */
  verificationKey(kid: string): Promise<KeyObject | undefined>
}

/** What metrics and the port for operators may say about the keys. */
export interface KeysReport {
  status: KeysStatus
  /** Seconds since the last load that read all secrets. */
  loadAge: number
  /** How many loads so far could not read a secret, or refused one. */
  failures: number
  access: KeyStatus[]
  refresh: KeyStatus[]
}

const unknownKidPauseMs = 5_000
const unknownKidWaitMs = 1_000
// Timers of Node cannot wait longer.
const longestTimerMs = 2 ** 31 - 2

/** Loads the keys, and loads them again every `reloadSeconds` until closed. Reports changes and lasting problems once. */
export async function createLiveKeys(options: {
  secrets: Secrets
  accessAlgorithm: Algorithm
  reloadSeconds: number
  /** How long the last good keys may serve during an outage; 0: without limit. */
  maxStaleSeconds: number
  accessTokenSeconds: number
  refreshTokenSeconds: number
  clock: () => number
  delay: Delay
  onEvent: (event: KeyEvent) => void
  onWarning: (message: string) => void
}) {
  const { secrets, accessAlgorithm, reloadSeconds, maxStaleSeconds, clock, delay } = options
  const createRing = (algorithm: Algorithm, tokenSeconds: number) =>
    createKeyring({ reloadSeconds, tokenSeconds, clock, algorithm })
  const access = createRing(accessAlgorithm, options.accessTokenSeconds)
  const refresh = createRing('HS256', options.refreshTokenSeconds)
  // The same keys. They verify links even when refresh tokens live for a shorter time.
  const links = createRing('HS256', linkSeconds)
  const rings = [
    [accessSecretOf(accessAlgorithm), access],
    ['JWT_REFRESH_SECRET', refresh],
  ] as const
  const { reportProblems, reportWarnings, reportStates } = createKeyEvents(options)
  const lastGood: LoadedSecrets['versions'] = {}
  let lastLoad: Exclude<KeysStatus, 'stale'> = 'ok'
  let lastGoodAt = clock()
  let failures = 0
  let lastUnknownKidAt: number | undefined
  let reviewTimer: NodeJS.Timeout | undefined

  const load = singleFlight(async (options?: { retryLogins: boolean }) => {
    const { versions, problems } = await secrets.load(options)
    reportProblems(problems)
    reportWarnings(versions)
    updateRings(versions)
    noteOutcome(problems)
    review()
  })

  // Secrets that are left out could not be read. Their last good versions stay.
  function updateRings(versions: LoadedSecrets['versions']) {
    Object.assign(lastGood, versions)
    for (const [name, ring] of [...rings, ['JWT_REFRESH_SECRET', links] as const])
      if (lastGood[name]) ring.update(lastGood[name], lastGood[`${name}_PREVIOUS`] ?? [])
  }

  function noteOutcome(problems: SecretProblem[]) {
    const unreachable = problems.filter(({ kind }) => kind === 'unreachable')
    lastLoad = unreachable.length > 0 ? 'unreachable' : 'ok'
    if (lastLoad === 'ok' && problems.length > 0) lastLoad = 'refused'
    // The service does not need a previous secret. So that one may be unavailable without limit.
    if (unreachable.every(({ name }) => name.endsWith('_PREVIOUS'))) lastGoodAt = clock()
    if (problems.length > 0) failures++
  }

  /** Reports states that have changed, and runs again when the next change is due. */
  function review() {
    clearTimeout(reviewTimer)
    for (const [secret, ring] of rings) reportStates(secret, ring.states())
    const changes = rings.map(([, ring]) => ring.nextChange()).filter((time) => time !== undefined)
    if (changes.length === 0) return
    const pause = Math.min(...changes) - clock() + 1
    reviewTimer = setTimeout(review, Math.min(pause, longestTimerMs)).unref()
  }

  function isTooOld(): boolean {
    const staleMs = maxStaleSeconds * 1000
    return lastLoad === 'unreachable' && staleMs > 0 && clock() - lastGoodAt > staleMs
  }

  function status(): KeysStatus {
    return isTooOld() || rings.some(([, ring]) => !ring.signingKey()) ? 'stale' : lastLoad
  }

  // Anybody can invent a `kid`. A flood of them must not become traffic to the stores.
  async function reloadForUnknownKid() {
    const isTooSoon = lastUnknownKidAt !== undefined && clock() - lastUnknownKidAt < unknownKidPauseMs
    if (isTooSoon && !load.running()) return
    lastUnknownKidAt = clock()
    await limitTime(() => load(), { ms: unknownKidWaitMs, onLate: () => {}, delay })
  }

  const tokenKeys = (ring: Keyring, algorithm: Algorithm): TokenKeys => ({
    algorithm,
    signingKey(kid) {
      const key = isTooOld() ? undefined : ring.signingKey(kid)
      if (!key) throw new AuthError('unavailable', { cause: 'no usable signing key' })
      return key
    },
    async verificationKey(kid) {
      const known = isTooOld() ? undefined : ring.verificationKey(kid)
      if (known) return known
      await reloadForUnknownKid()
      // A store may be unavailable, or this server may have no key at all. Then the token may be valid, so answer 503.
      if (load.running() || lastLoad === 'unreachable' || !ring.signingKey())
        throw new AuthError('unavailable', { cause: 'unknown kid while the secrets are unavailable' })
      return ring.verificationKey(kid)
    },
  })

  await load()
  const reloadTimer = setInterval(() => load(), reloadSeconds * 1000).unref()

  return {
    access: tokenKeys(access, accessAlgorithm),
    refresh: tokenKeys(refresh, 'HS256'),
    links: tokenKeys(links, 'HS256'),
    /** Returns the public keys that verify access tokens (RFC 7517); none under HS256. */
    publicKeys: access.publicKeys,
    status,
    report: (): KeysReport => ({
      status: status(),
      loadAge: (clock() - lastGoodAt) / 1000,
      failures,
      access: access.states(),
      refresh: refresh.states(),
    }),
    /** Loads all secrets after any load that is under way. Stores try a refused login again. Keeps keys that are good. */
    async reload(): Promise<void> {
      await load.running() // It may have read a store before the change that the caller wants to load.
      await load({ retryLogins: true })
    },
    close() {
      clearInterval(reloadTimer)
      clearTimeout(reviewTimer)
    },
  }
}

export type LiveKeys = Awaited<ReturnType<typeof createLiveKeys>>
