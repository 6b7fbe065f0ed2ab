import { SourceError } from '../../source-error.ts'
import { pathIn, readSecretFile } from '../file/file.ts'
import type { Environment } from '../secret-store.ts'
import type { CallVault, VaultBody } from './vault.ts'

// OpenBao locks a role at the fifth refused login in 15 minutes, for everyone who uses it. This makes four.
const retryMs = 4 * 60_000

/** A token and its life, in milliseconds; infinite if it never ends. */
interface Lease {
  token: string
  loggedInAt: number
  since: number
  lifeMs: number
  renewable: boolean
}

/**
 * Keeps a token for Vault: one that was given (`VAULT_TOKEN`), or that of an AppRole login (`VAULT_ROLE_ID`,
 * `VAULT_SECRET_ID`). Renews it when two thirds of its life are over. If that does not give it a full life again, because
 * its maximum is near, logs in again. A refused AppRole login is tried again every four minutes, and at once with a new
 * credential.
 */
export function createVaultLogin(env: Environment, call: CallVault, clock: () => number) {
  const setting = env.VAULT_TOKEN || (env.VAULT_ROLE_ID && env.VAULT_SECRET_ID)
  if (!setting)
    throw new SourceError(
      'malformed',
      'is in Vault: set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID (or their _FILE)',
    )
  let current: Lease | undefined
  let working: Promise<Lease> | undefined
  let refusal: { credential: string; error: SourceError; at: number } | undefined

  // A file is read at each login, because agents put new tokens and secret ids into it.
  async function login(setting: string, signal: AbortSignal): Promise<Lease> {
    const credential = await credentialIn(setting)
    if (refusal?.credential === credential && clock() - refusal.at < retryMs) throw refusal.error
    return env.VAULT_TOKEN ? look(credential, signal) : loginByRole(credential, signal)
  }

  async function loginByRole(credential: string, signal: AbortSignal): Promise<Lease> {
    const since = clock()
    const request = { role_id: env.VAULT_ROLE_ID, secret_id: credential }
    const { status, body } = await call({ method: 'POST', path: 'auth/approle/login', body: request, signal })
    if (body.auth) return toLease(body.auth, since)
    const error = new SourceError(
      'denied',
      `is in Vault, which refuses the AppRole login (${status}): issue a new secret id, bao write -f auth/approle/role/ROLE/secret-id`,
    )
    refusal = { credential, error, at: since }
    throw error
  }

  // How long a given token lives. One that may not ask is used as it is.
  async function look(token: string, signal: AbortSignal): Promise<Lease> {
    const since = clock()
    const { body } = await call({ method: 'GET', path: 'auth/token/lookup-self', token, signal })
    const [lease_duration, renewable] = [Number(body.data?.ttl ?? 0), body.data?.renewable === true]
    return toLease({ client_token: token, lease_duration, renewable }, since)
  }

  async function renew(old: Lease, signal: AbortSignal): Promise<Lease | undefined> {
    const since = clock()
    if (!old.renewable || since >= old.since + old.lifeMs) return undefined
    const request = { method: 'POST', path: 'auth/token/renew-self', body: {}, token: old.token } as const
    const { body } = await call({ ...request, signal })
    const renewed = body.auth && toLease(body.auth, since)
    if (!renewed || renewed.lifeMs <= (2 / 3) * old.lifeMs) return undefined
    return { ...renewed, token: old.token, loggedInAt: old.loggedInAt }
  }

  return {
    async token(signal: AbortSignal): Promise<string> {
      if (current && clock() < current.since + (2 / 3) * current.lifeMs) return current.token
      working ??= (async () => (current && (await renew(current, signal))) ?? login(setting, signal))()
      current = await working.finally(() => {
        working = undefined
      })
      return current.token
    },
    /** After this token was refused: true if another one may help, because its login is not of this very moment. */
    forget(token: string): boolean {
      if (current?.token !== token) return true
      if (clock() - current.loggedInAt < 1_000) return false
      current = undefined
      return true
    },
    /** Lets the next call log in, even if the last login was refused a moment ago. */
    retry() {
      refusal = undefined
    },
  }
}

function toLease({ client_token, lease_duration, renewable }: NonNullable<VaultBody['auth']>, since: number) {
  const lifeMs = lease_duration > 0 ? lease_duration * 1000 : Infinity
  return { token: client_token, loggedInAt: since, since, lifeMs, renewable }
}

async function credentialIn(setting: string): Promise<string> {
  const path = pathIn(setting)
  if (setting.startsWith('ref+') && path === undefined)
    throw new SourceError(
      'malformed',
      'is in Vault, whose own credentials may be a value or ref+file:// only',
    )
  const value = path === undefined ? setting : (await readSecretFile(path)).value
  if (/[^ -~]/.test(value))
    throw new SourceError(
      'malformed',
      'is in Vault, whose token or secret id has line breaks or the like in it',
    )
  return value
}
