import { AuthError, ifPossible } from '../errors.ts'
import type { AuditLog, Caller } from '../store/audit.ts'
import type { NewSession, SessionStore } from '../store/sessions.ts'
import type { Credentials, UserStore } from '../store/users.ts'
import type { DeviceTokens } from './device-token.ts'
import type { Grant, PrepareGrant } from './grant.ts'
import type { Asker, Passwords } from './password.ts'
import type { RefreshTokens } from './refresh-token.ts'
import type { Throttle } from './throttle.ts'

/** The device that asks, and what it presented, if anything. */
export interface Device extends Caller {
  refreshToken: string | undefined
  deviceToken: string | undefined
  /** Aborted when nobody waits for the answer any more. */
  gone: AbortSignal
}

/** A login, a registration and a change of the password also mark the device as known to the account. */
export interface DeviceGrant extends Grant {
  deviceToken: string
}

export type NewSessionFor = ReturnType<typeof createNewSessions>

/** New sessions for devices. Of a presented token only which session to end is taken, never who it belongs to. */
export function createNewSessions(deps: { refreshTokens: RefreshTokens; randomId: () => string }) {
  return async function newSessionFor(
    { userAgent, ip, refreshToken }: Device,
    amr: NewSession['amr'],
  ): Promise<NewSession> {
    // A cookie nobody can judge, as its key is out of reach, keeps nobody from logging in.
    const presented = refreshToken ? await ifPossible(deps.refreshTokens.verify(refreshToken)) : undefined
    return { id: deps.randomId(), userAgent, ip, amr, replaces: presented?.sessionId }
  }
}

export function createLogin(deps: {
  users: UserStore
  sessions: SessionStore
  audit: AuditLog
  passwords: Passwords
  throttle: Throttle
  deviceTokens: DeviceTokens
  prepareGrant: PrepareGrant
  newSessionFor: NewSessionFor
}) {
  const { users, sessions, passwords } = deps

  /**
   * Starts a session for whoever knows the password. An unknown address, a wrong password and a disabled account
   * cannot be told apart, by the answer or by the time it takes.
   * @throws AuthError `invalid_credentials`, `too_many_attempts`, `overloaded`, `unavailable`
   */
  return async function login(email: string, password: string, device: Device): Promise<DeviceGrant> {
    // Whether the device is known takes a look at the account, so it gets the benefit of the doubt here.
    passwords.refuseIfFull({ ...device, account: email, knownDevice: device.deviceToken })
    const grant = deps.prepareGrant()
    const signDeviceToken = deps.deviceTokens.signer()
    const { ip, userAgent } = device
    const account = await users.credentialsByEmail(email)
    const knownDevice = await deps.deviceTokens.verify(device.deviceToken, account)
    const userId = account?.userId
    const guesser = { ...device, account: userId ?? email, userId, knownDevice }

    const granted = await deps.throttle.guess(guesser, async () => {
      const match = await passwords.verify(password, account, guesser)
      if (!account || !match || account.disabled) return undefined
      const session = await deps.newSessionFor(device, ['pwd'])
      const started = await sessions.start(account.userId, account.epoch, session)
      // Overtaken by a change of the password or a logout everywhere, this login must not outlive it.
      if (!started) throw new AuthError('invalid_credentials')
      if (passwords.isOutdated(account)) await rehash(account, password, guesser)
      return { ...grant(started), deviceToken: signDeviceToken(account.userId, started.epoch, knownDevice) }
    })
    if (granted) return granted
    await deps.audit.record({ event: 'login_failed', userId: account?.userId, ip, userAgent })
    throw new AuthError('invalid_credentials')
  }

  // Best effort: an overloaded queue or a lost connection leaves the old hash, and the next login tries again.
  async function rehash(account: Credentials, password: string, asker: Asker): Promise<void> {
    const hashed = await ifPossible(passwords.hash(password, asker))
    if (hashed) await ifPossible(users.rehash(account.userId, account.passwordHash, hashed))
  }
}
