import { AuthError } from '../errors.ts'
import type { AuditLog } from '../store/audit.ts'
import type { SessionStore } from '../store/sessions.ts'
import type { UserStore } from '../store/users.ts'
import type { AccessClaims } from './access-token.ts'
import type { Device } from './device.ts'
import type { DeviceTokens } from './device-token.ts'
import type { Grant, Grants } from './grant.ts'
import type { Passwords } from './password.ts'
import type { Throttle } from './throttle.ts'

export function createReauthenticate(deps: {
  users: UserStore
  sessions: SessionStore
  audit: AuditLog
  passwords: Passwords
  throttle: Throttle
  deviceTokens: DeviceTokens
  prepareGrant: Grants['prepareGrant']
}) {
  const { users, sessions, passwords } = deps

  /**
   * Makes the requesting session fresh, if the user knows the password (OWASP ASVS 7.5.1). Rotates its refresh token. No
   * other session becomes fresh.
   * @throws AuthError `too_many_attempts`, `session_ended`, `wrong_password`, `overloaded`, `unavailable`
   */
  return async function reauthenticate(
    { userId, sessionId }: AccessClaims,
    password: string,
    device: Device,
  ): Promise<Grant> {
    passwords.refuseIfFull({ ...device, account: userId, knownDevice: device.deviceToken })
    const grant = deps.prepareGrant()
    const { ip, userAgent } = device
    const account = await users.credentialsById(userId)
    const knownDevice = await deps.deviceTokens.verify(device.deviceToken, account)

    const guesser = { ...device, account: userId, userId, knownDevice, session: sessionId }
    const granted = await deps.throttle.guess(guesser, async () => {
      if (!(await sessions.find(sessionId, userId))) throw new AuthError('session_ended')
      if (!account || !(await passwords.verify(password, account, guesser))) return undefined
      const proven = await sessions.reauthenticate(sessionId, userId, ['pwd'], { ip, userAgent })
      // The session ended during the hashing. A change of the password ends it too, because the old password proves
      // nothing any more.
      if (!proven) throw new AuthError('session_ended')
      return grant(proven)
    })
    if (granted) return granted
    await deps.audit.record({ event: 'reauthentication_failed', userId, sessionId, ip, userAgent })
    throw new AuthError('wrong_password')
  }
}

export type Reauthenticate = ReturnType<typeof createReauthenticate>
