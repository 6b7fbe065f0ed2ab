import { pathIn, readSecretFile } from './file.ts'
import { SourceError } from './source-error.ts'
import type { Environment } from './store.ts'
import type { CallVault } from './vault.ts'

// Five refused logins lock a role out, for everyone who uses it; and they count until 15 minutes have passed without
// one. A new secret id in its file is tried at once.
const firstPauseMs = 16 * 60_000
const longestPauseMs = 2 * 3_600_000

/** Times in milliseconds; those of a token that never ends are infinite. */
interface Login {
  token: string
  loggedInAt: number
  since: number
  renewAt: number
  endsAt: number
  renewable: boolean
}

/**
 * Keeps a token for Vault: one that was given (`VAULT_TOKEN`), or that of an AppRole login (`VAULT_ROLE_ID`,
 * `VAULT_SECRET_ID`). Renewed when two thirds of its life are over; where that does not give it a full life again, as
 * its maximum is near, it logs in anew.
 */
export function createVaultLogin(env: Environment, call: CallVault) {
  const byRole = !env.VAULT_TOKEN
  if (byRole && !(env.VAULT_ROLE_ID && env.VAULT_SECRET_ID))
    throw new SourceError(
      'malformed',
      'is in Vault: set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID (or their _FILE)',
    )
  let current: Login | undefined
  let working: Promise<Login> | undefined
  let refused: { credential: string; error: SourceError; until: number; pause: number } | undefined

  async function login(signal: AbortSignal): Promise<Login> {
    // A file is read at each login, as agents put new tokens and secret ids into it.
    const credential = await textOf((byRole ? env.VAULT_SECRET_ID : env.VAULT_TOKEN) as string)
    const pausing = refused?.credential === credential
    if (refused && pausing && Date.now() < refused.until) throw refused.error
    const startedAt = Date.now()
    if (!byRole) return look(credential, startedAt, signal)
    const { status, body } = await call({
      method: 'POST',
      path: 'auth/approle/login',
      body: { role_id: env.VAULT_ROLE_ID, secret_id: credential },
      signal,
    })
    if (!body.auth) {
      const error = new SourceError(
        'denied',
        `is in Vault, which refuses the AppRole login (${status}): issue a new secret id, bao write -f auth/approle/role/ROLE/secret-id`,
      )
      const pause = refused && pausing ? Math.min(2 * refused.pause, longestPauseMs) : firstPauseMs
      refused = { credential, error, until: Date.now() + pause, pause }
      throw error
    }
    refused = undefined
    return asLogin(body.auth.client_token, body.auth.lease_duration, body.auth.renewable, startedAt)
  }

  // How long a given token lives. Those that may not ask are used as they are.
  async function look(token: string, startedAt: number, signal: AbortSignal): Promise<Login> {
    const { body } = await call({ method: 'GET', path: 'auth/token/lookup-self', token, signal })
    return asLogin(token, Number(body.data?.ttl ?? 0), body.data?.renewable === true, startedAt)
  }

  async function renew(old: Login, signal: AbortSignal): Promise<Login | undefined> {
    if (!old.renewable || Date.now() >= old.endsAt) return undefined
    const startedAt = Date.now()
    const request = { method: 'POST', path: 'auth/token/renew-self', body: {}, token: old.token } as const
    const { body } = await call({ ...request, signal })
    if (!body.auth) return undefined
    const renewed = asLogin(old.token, body.auth.lease_duration, body.auth.renewable, startedAt)
    const full = renewed.endsAt - renewed.since > (2 / 3) * (old.endsAt - old.since)
    return full ? { ...renewed, loggedInAt: old.loggedInAt } : undefined
  }

  return {
    async token(signal: AbortSignal): Promise<string> {
      if (current && Date.now() < current.renewAt) return current.token
      working ??= (async () => (current && (await renew(current, signal))) || login(signal))().finally(() => {
        working = undefined
      })
      current = await working
      return current.token
    },
    /** After this token was refused: true where another one may help, as its login is not of this very moment. */
    forget(token: string): boolean {
      if (current?.token !== token) return true
      if (Date.now() - current.loggedInAt < 1_000) return false
      current = undefined
      return true
    },
  }
}

function asLogin(token: string, ttlSeconds: number, renewable: boolean, since: number): Login {
  const lifetime = ttlSeconds > 0 ? ttlSeconds * 1000 : Number.POSITIVE_INFINITY
  return {
    token,
    loggedInAt: since,
    since,
    renewAt: since + (2 / 3) * lifetime,
    endsAt: since + lifetime,
    renewable,
  }
}

async function textOf(text: string): Promise<string> {
  const path = pathIn(text)
  if (text.startsWith('ref+') && path === undefined)
    throw new SourceError(
      'malformed',
      'is in Vault, whose own credentials may be a value or ref+file:// only',
    )
  const value = path === undefined ? text : (await readSecretFile(path)).value
  if (/[^ -~]/.test(value))
    throw new SourceError(
      'malformed',
      'is in Vault, whose token or secret id has line breaks or the like in it',
    )
  return value
}
