import { AuthError } from '../errors.ts'
import type { AuditLog } from '../store/audit.ts'
import type { SessionStore } from '../store/sessions.ts'
import type { UserStore } from '../store/users.ts'
import type { AccessClaims } from './access-token.ts'
import type { Device } from './device.ts'
import type { DeviceTokens } from './device-token.ts'
import type { DeviceGrant, Grants } from './grant.ts'
import type { NewSessionFor } from './new-session.ts'
import type { Notify } from './notify.ts'
import type { HashedPassword, Passwords } from './password.ts'
import type { Throttle } from './throttle.ts'

export function createChangePassword(deps: {
  users: UserStore
  sessions: SessionStore
  audit: AuditLog
  passwords: Passwords
  throttle: Throttle
  deviceTokens: DeviceTokens
  prepareDeviceGrant: Grants['prepareDeviceGrant']
  newSessionFor: NewSessionFor
  notify?: Notify
}) {
  const { users, sessions, passwords } = deps

  /**
   * Changes the password of a user who knows the current one. Ends all sessions of the user, also the one that asked,
   * and starts a new one (OWASP ASVS 7.2.4, 7.4.3).
   * @throws AuthError `too_many_attempts`, `session_ended`, `password_rejected`, `wrong_password`, `overloaded`,
   * `unavailable`
   */
  return async function changePassword(
    { userId, sessionId }: AccessClaims,
    currentPassword: string,
    newPassword: string,
    device: Device,
  ): Promise<DeviceGrant> {
    passwords.refuseIfFull({ ...device, account: userId, knownDevice: device.deviceToken })
    const grant = deps.prepareDeviceGrant()
    const { ip, userAgent } = device
    let account = await users.credentialsById(userId)
    const knownDevice = await deps.deviceTokens.verify(device.deviceToken, account)

    const guesser = { ...device, account: userId, userId, knownDevice, session: sessionId }
    const granted = await deps.throttle.guess(guesser, async () => {
      const live = await sessions.find(sessionId, userId)
      if (!live) throw new AuthError('session_ended')
      const message = await passwords.problem(newPassword, live.user.email, guesser)
      if (message) throw new AuthError('password_rejected', { errors: [{ path: 'newPassword', message }] })
      const session = await deps.newSessionFor(device, ['pwd'])
      let hashed: HashedPassword | undefined
      for (;;) {
        if (!account || !(await passwords.verify(currentPassword, account, guesser))) return undefined
        hashed ??= await passwords.hash(newPassword, guesser)
        const { passwordHash } = account
        const started = await sessions.changePassword(
          userId,
          sessionId,
          passwordHash,
          hashed,
          session,
          async (tx, { user }) => deps.notify?.(tx, { kind: 'password_changed', user, from: device }),
        )
        if (started) return grant(started, knownDevice)
        // Another request has changed the hash. After a rehash the current password is still right.
        account = await users.credentialsById(userId)
      }
    })
    if (granted) return granted
    await deps.audit.record({ event: 'password_change_failed', userId, sessionId, ip, userAgent })
    throw new AuthError('wrong_password')
  }
}

export type ChangePassword = ReturnType<typeof createChangePassword>
