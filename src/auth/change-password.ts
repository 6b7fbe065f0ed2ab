import type { AuditLog } from '../store/audit.ts'
import type { SessionStore } from '../store/sessions.ts'
import type { UserStore } from '../store/users.ts'
import type { AccessClaims } from './access-token.ts'
import type { DeviceTokens } from './device-token.ts'
import { AuthError } from './errors.ts'
import type { Device } from './login.ts'
import type { HashedPassword, Passwords } from './password.ts'
import type { Throttle } from './throttle.ts'

export function createChangePassword(deps: {
  users: UserStore
  sessions: SessionStore
  audit: AuditLog
  passwords: Passwords
  throttle: Throttle
  deviceTokens: DeviceTokens
}) {
  const { users, sessions, passwords } = deps

  /**
   * Changes the password of a user who knows the current one, and ends the user's other sessions.
   * @throws AuthError `too_many_attempts`, `session_ended`, `password_rejected`, `wrong_password`, `overloaded`,
   * `unavailable`
   */
  return async function changePassword(
    { userId, sessionId }: AccessClaims,
    currentPassword: string,
    newPassword: string,
    device: Device,
  ): Promise<void> {
    passwords.refuseIfFull()
    const { ip, userAgent } = device
    const knownDevice = await deps.deviceTokens.verify(device.deviceToken, userId)

    const changed = await deps.throttle.guess({ account: userId, knownDevice, ip }, async () => {
      const live = await sessions.find(sessionId, userId)
      if (!live) throw new AuthError('session_ended')
      const message = passwords.problem(newPassword, live.user.email)
      if (message) throw new AuthError('password_rejected', { errors: [{ path: 'newPassword', message }] })
      let hashed: HashedPassword | undefined
      for (;;) {
        const account = await users.credentialsById(userId)
        if (!account || !(await passwords.verify(currentPassword, account, device.gone))) return undefined
        hashed ??= await passwords.hash(newPassword, device.gone)
        if (await sessions.changePassword(userId, account.passwordHash, hashed, sessionId, device))
          return true
        // Overtaken: by another change, which the current password will not survive, or by a rehash, which it will.
      }
    })
    if (changed) return
    await deps.audit.record({ event: 'password_change_failed', userId, sessionId, ip, userAgent })
    throw new AuthError('wrong_password')
  }
}
