import type { KeyObject } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { AuthError } from '../auth/errors.ts'
import { createKeyring, type Key, type Keyring } from './keyring.ts'
import type { LoadedSecrets, SecretProblem, Secrets } from './secrets.ts'

/** What `/readyz` says of the keys. Only `stale` stops the service: the last good keys have become too old. */
export type KeysStatus = 'ok' | 'refused' | 'unreachable' | 'stale'

/** The keys of one kind of token. Both throw AuthError `unavailable` where no key is to be had. */
export interface TokenKeys {
  signingKey(): Key
  /** The key of a `kid` out of a token not verified yet; undefined where no key has or should have that name. */
  verificationKey(kid: string): Promise<KeyObject | undefined>
}

export interface Keys {
  access: TokenKeys
  refresh: TokenKeys
  status(): KeysStatus
  /** Loads all secrets again; joins a load that is under way. Where one is not good, the last good keys stay. */
  reload(): Promise<void>
  close(): void
}

const unknownKidPauseMs = 5_000
const unknownKidWaitMs = 1_000

/** Loads the keys and keeps them fresh until closed. `onProblem` hears of every secret that was not good. */
export async function createKeys(options: {
  secrets: Secrets
  refreshSeconds: number
  maxStaleSeconds: number
  accessTokenSeconds: number
  refreshTokenSeconds: number
  clock: () => number
  onProblem: (problem: SecretProblem) => void
}): Promise<Keys> {
  const { secrets, refreshSeconds, clock } = options
  const access = createKeyring({ refreshSeconds, tokenSeconds: options.accessTokenSeconds, clock })
  const refresh = createKeyring({ refreshSeconds, tokenSeconds: options.refreshTokenSeconds, clock })
  let lastLoad: Exclude<KeysStatus, 'stale'> = 'ok'
  let lastGoodAt = clock()
  let lastUnknownKidAt = Number.NEGATIVE_INFINITY
  let loading: Promise<void> | undefined

  function apply({ versions, problems }: LoadedSecrets) {
    for (const problem of problems) options.onProblem(problem)
    const [first] = problems
    if (first) {
      lastLoad = first.kind
      return
    }
    access.update(versions.JWT_ACCESS_SECRET ?? [], versions.JWT_ACCESS_SECRET_PREVIOUS ?? [])
    refresh.update(versions.JWT_REFRESH_SECRET ?? [], versions.JWT_REFRESH_SECRET_PREVIOUS ?? [])
    lastLoad = 'ok'
    lastGoodAt = clock()
  }

  function reload() {
    loading ??= secrets
      .load()
      .then(apply)
      .finally(() => {
        loading = undefined
      })
    return loading
  }

  function status(): KeysStatus {
    const staleMs = options.maxStaleSeconds * 1000
    const stale = lastLoad === 'unreachable' && staleMs > 0 && clock() - lastGoodAt > staleMs
    return stale ? 'stale' : lastLoad
  }

  // Names of keys are free to make up: a flood of them must not become traffic to where the secrets live.
  async function reloadForUnknownKid() {
    if (!loading && clock() - lastUnknownKidAt < unknownKidPauseMs) return
    lastUnknownKidAt = clock()
    await Promise.race([reload(), delay(unknownKidWaitMs, undefined, { ref: false })])
  }

  const tokenKeys = (ring: Keyring): TokenKeys => ({
    signingKey() {
      const key = status() === 'stale' ? undefined : ring.signingKey()
      if (!key) throw new AuthError('unavailable', { cause: 'no usable signing key' })
      return key
    },
    async verificationKey(kid) {
      if (status() !== 'stale') {
        const known = ring.verificationKey(kid)
        if (known) return known
      }
      await reloadForUnknownKid()
      // A key that is out of reach may be a good one: no reason to call its tokens invalid.
      if (loading || lastLoad === 'unreachable')
        throw new AuthError('unavailable', { cause: 'unknown kid while the secrets are out of reach' })
      return ring.verificationKey(kid)
    },
  })

  await reload()
  const timer = setInterval(reload, refreshSeconds * 1000).unref()

  return {
    access: tokenKeys(access),
    refresh: tokenKeys(refresh),
    status,
    reload,
    close: () => clearInterval(timer),
  }
}
