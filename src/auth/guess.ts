import { AuthError } from '../errors.ts'
import type { AuditLog } from '../store/audit.ts'
import type { SessionState, SessionStore } from '../store/sessions.ts'
import type { Credentials, UserStore } from '../store/users.ts'
import type { AccessClaims } from './access-token.ts'
import type { Device } from './device.ts'
import type { DeviceTokens } from './device-token.ts'
import type { Passwords } from './password.ts'
import type { Guesser, Throttle } from './throttle.ts'

/** What judges a password that may be a guess. */
export interface GuessDeps {
  users: UserStore
  sessions: SessionStore
  audit: AuditLog
  passwords: Passwords
  throttle: Throttle
  deviceTokens: DeviceTokens
}

/** A session that claims to know the password of its user. */
export interface Claim {
  live: SessionState
  account: Credentials | undefined
  guesser: Guesser & Device
}

export function createSessionGuess({ users, sessions, audit, passwords, throttle, deviceTokens }: GuessDeps) {
  /**
   * Lets a session prove that it knows the password of its user. Throttles the guess, and audits a wrong one.
   * @param failure the event in the audit
   * @param work checks the password; returns undefined if it is wrong
   * @throws AuthError `too_many_attempts`, `session_ended`, `wrong_password`, `overloaded`, `unavailable`, and what
   * `work` throws
   */
  return async function guess<T>(
    { userId, sessionId }: AccessClaims,
    device: Device,
    failure: 'reauthentication_failed' | 'password_change_failed',
    work: (claim: Claim) => Promise<T | undefined>,
  ): Promise<T> {
    passwords.refuseIfFull({ ...device, account: userId, knownDevice: device.deviceToken })
    const account = await users.credentialsById(userId)
    const knownDevice = await deviceTokens.verify(device.deviceToken, account)
    const guesser = { ...device, account: userId, userId, knownDevice, session: sessionId }

    const proven = await throttle.guess(guesser, async () => {
      const live = await sessions.find(sessionId, userId)
      if (!live) throw new AuthError('session_ended')
      return work({ live, account, guesser })
    })
    if (proven) return proven
    const { ip, userAgent } = device
    await audit.record({ event: failure, userId, sessionId, ip, userAgent })
    throw new AuthError('wrong_password')
  }
}
