import type { JsonWebKey, KeyObject } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { AuthError } from '../errors.ts'
import { singleFlight } from '../single-flight.ts'
import type { Algorithm, Key } from './key.ts'
import { createKeyring, type Keyring, type KeyState, type KeyStatus } from './keyring.ts'
import { accessSecretOf, type LoadedSecrets, type SecretName, type Secrets } from './load-secrets.ts'

/** What `/readyz` says of the keys. Only `stale` stops the service: there are none, or the last good ones are too old. */
export type KeysStatus = 'ok' | 'refused' | 'unreachable' | 'stale'

/** The keys of one kind of token. Both throw AuthError `unavailable` where no key is to be had. */
export interface TokenKeys {
  algorithm: Algorithm
  signingKey(): Key
  /** The key of a `kid` out of a token not verified yet; undefined where no key has or should have that name. */
  verificationKey(kid: string): Promise<KeyObject | undefined>
}

/** Something that happened to keys, for the log and the audit: never a part of a secret. */
export interface KeyEvent {
  event: `key_${KeyState | 'refused'}` | 'keys_loaded' | 'keys_reload_failed'
  /** The variable that the key or the problem comes from; `reason`: why it was retired, refused or not loaded. */
  secret?: SecretName
  kid?: string
  source?: string
  version?: string
  reason?: string
}

/** What may be told of the keys: by metrics, and on the port for operators. */
export interface KeysReport {
  status: KeysStatus
  /** Seconds since all secrets could be read. */
  loadAge: number
  /** Loads so far in which a secret could not be read, or was refused. */
  failures: number
  access: KeyStatus[]
  refresh: KeyStatus[]
}

export interface Keys {
  access: TokenKeys
  refresh: TokenKeys
  /** The public keys that other services verify access tokens by (RFC 7517); none under HS256. */
  publicKeys(): JsonWebKey[]
  status(): KeysStatus
  report(): KeysReport
  /**
   * Loads all secrets again, after a load that is under way, also from stores that refused a login a moment ago. Where
   * one is not good, the last good keys stay.
   */
  reload(): Promise<void>
  close(): void
}

const unknownKidPauseMs = 5_000
const unknownKidWaitMs = 1_000
const longestTimerMs = 2 ** 31 - 2

/**
 * Loads the keys and keeps them fresh until closed. `onEvent` hears of every change, and of a lasting problem once, as
 * `onWarning` does of what should be changed although it works.
 */
export async function createKeys(options: {
  secrets: Secrets
  accessAlgorithm: Algorithm
  refreshSeconds: number
  maxStaleSeconds: number
  accessTokenSeconds: number
  refreshTokenSeconds: number
  clock: () => number
  onEvent: (event: KeyEvent) => void
  onWarning: (message: string) => void
}): Promise<Keys> {
  const { secrets, refreshSeconds, clock, accessAlgorithm, onEvent, onWarning } = options
  const ring = (algorithm: Algorithm, tokenSeconds: number) =>
    createKeyring({ refreshSeconds, tokenSeconds, clock, algorithm })
  const access = ring(accessAlgorithm, options.accessTokenSeconds)
  const refresh = ring('HS256', options.refreshTokenSeconds)
  const rings = [
    [accessSecretOf(accessAlgorithm), access],
    ['JWT_REFRESH_SECRET', refresh],
  ] as const
  const lastGood: LoadedSecrets['versions'] = {}
  const seen = new Map<SecretName, KeyStatus[]>()
  let told: string[] | undefined
  let warned: string[] = []
  let failures = 0
  let reviewing: NodeJS.Timeout | undefined
  let lastLoad: Exclude<KeysStatus, 'stale'> = 'ok'
  let lastGoodAt = clock()
  let lastUnknownKidAt = Number.NEGATIVE_INFINITY

  function apply({ versions, problems }: LoadedSecrets) {
    tellOf(problems)
    warnOf(versions)
    Object.assign(lastGood, versions)
    for (const [name, ring] of rings)
      if (lastGood[name]) ring.update(lastGood[name], lastGood[`${name}_PREVIOUS`] ?? [])
    const unreachable = problems.some(({ kind }) => kind === 'unreachable')
    lastLoad = unreachable ? 'unreachable' : problems.length > 0 ? 'refused' : 'ok'
    // Without a previous secret everything goes on, for as long as it takes.
    const isAged = problems.some(({ name, kind }) => kind === 'unreachable' && !name.endsWith('_PREVIOUS'))
    if (!isAged) lastGoodAt = clock()
    if (problems.length > 0) failures++
    review()
  }

  function tellOf(problems: LoadedSecrets['problems']) {
    const lasting = told
    told = problems.map(({ name, message }) => `${name}: ${message}`)
    for (const [index, { name, kind, source, message }] of problems.entries()) {
      const event = kind === 'refused' ? 'key_refused' : 'keys_reload_failed'
      if (!lasting?.includes(told[index] as string))
        onEvent({ event, secret: name, ...(source && { source }), reason: message })
    }
    if (told.length === 0 && lasting?.length !== 0) onEvent({ event: 'keys_loaded' })
  }

  function warnOf(versions: LoadedSecrets['versions']) {
    const warnings = Object.entries(versions).flatMap(([name, [newest]]) =>
      newest?.warning ? [`${name}: ${newest.warning}`] : [],
    )
    for (const warning of warnings) if (!warned.includes(warning)) onWarning(warning)
    warned = warnings
  }

  // Compares the keys with what was told of them last, now and when the next one changes by time.
  function review() {
    clearTimeout(reviewing)
    for (const [secret, ring] of rings) {
      const before = seen.get(secret) ?? []
      const now = ring.states()
      seen.set(secret, now)
      for (const key of now) {
        const last = before.find(({ kid }) => kid === key.kid)?.state
        if (last === key.state || (!last && key.state === 'retired')) continue
        tellOfKey(secret, key, key.state === 'retired' ? 'its successor has taken its place' : undefined)
      }
      for (const key of before)
        if (key.state !== 'retired' && !now.some(({ kid }) => kid === key.kid))
          tellOfKey(secret, { ...key, state: 'retired' }, 'its source has it no more')
    }
    const next = Math.min(...rings.map(([, ring]) => ring.nextChange())) - clock()
    if (next < longestTimerMs) reviewing = setTimeout(review, next + 1).unref()
  }

  function tellOfKey(secret: SecretName, { state, kid, source, version }: KeyStatus, reason?: string) {
    onEvent({
      event: `key_${state}`,
      secret,
      kid,
      source,
      ...(version && { version }),
      ...(reason && { reason }),
    })
  }

  const load = singleFlight(async (options?: { retryLogins: boolean }) => apply(await secrets.load(options)))

  function tooOld(): boolean {
    const staleMs = options.maxStaleSeconds * 1000
    return lastLoad === 'unreachable' && staleMs > 0 && clock() - lastGoodAt > staleMs
  }

  function status(): KeysStatus {
    return tooOld() || rings.some(([, ring]) => !ring.signingKey()) ? 'stale' : lastLoad
  }

  // Names of keys are free to make up: a flood of them must not become traffic to where the secrets live.
  async function reloadForUnknownKid() {
    if (!load.running() && clock() - lastUnknownKidAt < unknownKidPauseMs) return
    lastUnknownKidAt = clock()
    await Promise.race([load(), delay(unknownKidWaitMs, undefined, { ref: false })])
  }

  const tokenKeys = (ring: Keyring, algorithm: Algorithm): TokenKeys => ({
    algorithm,
    signingKey() {
      const key = tooOld() ? undefined : ring.signingKey()
      if (!key) throw new AuthError('unavailable', { cause: 'no usable signing key' })
      return key
    },
    async verificationKey(kid) {
      if (!tooOld()) {
        const known = ring.verificationKey(kid)
        if (known) return known
      }
      await reloadForUnknownKid()
      // A key that is out of reach may be a good one: no reason to call its tokens invalid. Nor is there one where no
      // key is left at all, as then something is wrong here and not with the token.
      if (load.running() || lastLoad === 'unreachable' || !ring.signingKey())
        throw new AuthError('unavailable', { cause: 'unknown kid while the secrets are out of reach' })
      return ring.verificationKey(kid)
    },
  })

  await load()
  const timer = setInterval(() => load(), refreshSeconds * 1000).unref()

  return {
    access: tokenKeys(access, accessAlgorithm),
    refresh: tokenKeys(refresh, 'HS256'),
    publicKeys: access.publicKeys,
    status,
    report: () => ({
      status: status(),
      loadAge: (clock() - lastGoodAt) / 1000,
      failures,
      access: access.states(),
      refresh: refresh.states(),
    }),
    async reload() {
      await load.running() // It may have begun before what the caller wants to be seen.
      await load({ retryLogins: true })
    },
    close() {
      clearInterval(timer)
      clearTimeout(reviewing)
    },
  }
}
