import { singleFlight } from '../../../single-flight.ts'
import { denied, malformed, type SourceError } from '../../source-error.ts'
import { pathIn, readSecretFile } from '../file/file.ts'
import type { Environment } from '../secret-store.ts'
import type { CallVault, VaultBody } from './vault-call.ts'

// OpenBao locks a role, for everyone who uses it, at the fifth refused login in 15 minutes. Pauses of four minutes keep
// it at four. A token file would need no pause. But an agent must write the file, and many installations have no agent.
const refusalMs = 4 * 60_000
// A token that is refused this soon after its login is not the cause. Another login would not help.
const newLoginMs = 1_000

interface Lease {
  token: string
  loggedInAt: number
  /** The time of the login, or of the last renewal. */
  since: number
  /** Infinite if the token never expires. */
  lifeMs: number
  renewable: boolean
}

type State =
  | { kind: 'logged out' }
  | { kind: 'logged in'; lease: Lease }
  | { kind: 'refused'; credential: string; error: SourceError; until: number }

interface Deps {
  env: Environment
  call: CallVault
  clock: () => number
}

/**
 * Keeps a token for Vault: a given one (`VAULT_TOKEN`), or that of an AppRole login (`VAULT_ROLE_ID`,
 * `VAULT_SECRET_ID`). Renews it after two thirds of its life. Logs in again if the renewal does not give it a full life,
 * because its maximum is near. Tries a refused AppRole login again after four minutes, and at once with a new credential.
 */
export function createVaultLogin({ env, call, clock }: Deps) {
  const setting = credentialSetting(env)
  let state: State = { kind: 'logged out' }

  const logInOrRenew = singleFlight(async (signal: AbortSignal): Promise<string> => {
    const renewed = state.kind === 'logged in' ? await renew(state.lease, signal) : undefined
    const lease = renewed ?? (await logIn(signal))
    state = { kind: 'logged in', lease }
    return lease.token
  })

  async function renew(old: Lease, signal: AbortSignal): Promise<Lease | undefined> {
    const since = clock()
    if (!old.renewable || since >= old.since + old.lifeMs) return undefined
    const request = { method: 'POST', path: 'auth/token/renew-self', body: {}, token: old.token } as const
    const { body } = await call({ ...request, signal })
    const renewed = body.auth && toLease(body.auth, since)
    if (!renewed || renewed.lifeMs <= (2 / 3) * old.lifeMs) return undefined
    return { ...renewed, token: old.token, loggedInAt: old.loggedInAt }
  }

  async function logIn(signal: AbortSignal): Promise<Lease> {
    const credential = await readCredential(setting)
    if (state.kind === 'refused' && state.credential === credential && clock() < state.until)
      throw state.error
    return env.VAULT_TOKEN ? lookUp(credential, signal) : logInByRole(credential, signal)
  }

  // A token whose policy does not let it ask for its own life is used as it is.
  async function lookUp(token: string, signal: AbortSignal): Promise<Lease> {
    const since = clock()
    const { body } = await call({ method: 'GET', path: 'auth/token/lookup-self', token, signal })
    const [lease_duration, renewable] = [Number(body.data?.ttl ?? 0), body.data?.renewable === true]
    return toLease({ client_token: token, lease_duration, renewable }, since)
  }

  async function logInByRole(credential: string, signal: AbortSignal): Promise<Lease> {
    const since = clock()
    const request = { role_id: env.VAULT_ROLE_ID, secret_id: credential }
    const { status, body } = await call({ method: 'POST', path: 'auth/approle/login', body: request, signal })
    if (body.auth) return toLease(body.auth, since)
    const error = denied(
      `Vault refused the AppRole login (${status}). Issue a new secret id: bao write -f auth/approle/role/ROLE/secret-id`,
    )
    state = { kind: 'refused', credential, error, until: since + refusalMs }
    throw error
  }

  return {
    /** Returns a token. Calls at the same time share one login. */
    async token(signal: AbortSignal): Promise<string> {
      if (state.kind === 'logged in' && isFresh(state.lease, clock())) return state.lease.token
      return logInOrRenew(signal)
    },
    /** Drops a token that Vault refused. Returns true if another token may help. */
    forget(token: string): boolean {
      if (state.kind !== 'logged in' || state.lease.token !== token) return true
      if (clock() - state.lease.loggedInAt < newLoginMs) return false
      state = { kind: 'logged out' }
      return true
    },
    /** Lets the next call log in, even if Vault refused the last login a moment ago. */
    retry() {
      if (state.kind === 'refused') state = { kind: 'logged out' }
    },
  }
}

function credentialSetting({ VAULT_TOKEN, VAULT_ROLE_ID, VAULT_SECRET_ID }: Environment): string {
  const setting = VAULT_TOKEN || (VAULT_ROLE_ID && VAULT_SECRET_ID)
  if (setting) return setting
  throw malformed(
    'Vault needs credentials. Set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID (or their _FILE).',
  )
}

const isFresh = ({ since, lifeMs }: Lease, now: number) => now < since + (2 / 3) * lifeMs

function toLease({ client_token, lease_duration, renewable }: NonNullable<VaultBody['auth']>, since: number) {
  const lifeMs = lease_duration > 0 ? lease_duration * 1000 : Infinity
  return { token: client_token, loggedInAt: since, since, lifeMs, renewable }
}

// A file is read at each login, because agents put new tokens and secret ids into it.
async function readCredential(setting: string): Promise<string> {
  const path = pathIn(setting)
  if (setting.startsWith('ref+') && path === undefined)
    throw malformed(
      'The credentials of Vault must be a value or ref+file://. Change VAULT_TOKEN or VAULT_SECRET_ID.',
    )
  const value = path === undefined ? setting : (await readSecretFile(path)).value
  if (/[^ -~]/.test(value))
    throw malformed(
      'The token or secret id of Vault contains line breaks or special characters. Write it again.',
    )
  return value
}
