import { AuthError } from '../errors.ts'
import type { AccessClaims } from './access-token.ts'
import type { Device } from './device.ts'
import type { DeviceGrant, Grants } from './grant.ts'
import { createSessionGuess, type GuessDeps } from './guess.ts'
import type { NewSessionFor } from './new-session.ts'
import type { Notify } from './notify.ts'
import type { HashedPassword } from './password.ts'

export function createChangePassword(
  deps: GuessDeps & {
    prepareDeviceGrant: Grants['prepareDeviceGrant']
    newSessionFor: NewSessionFor
    notify?: Notify
  },
) {
  const { users, sessions, passwords } = deps
  const guess = createSessionGuess(deps)

  /**
   * Changes the password of a user who knows the current one. Ends all sessions of the user, also the one that asked,
   * and starts a new one (OWASP ASVS 7.2.4, 7.4.3).
   * @throws AuthError `too_many_attempts`, `session_ended`, `password_rejected`, `wrong_password`, `overloaded`,
   * `unavailable`
   */
  return async function changePassword(
    access: AccessClaims,
    currentPassword: string,
    newPassword: string,
    device: Device,
  ): Promise<DeviceGrant> {
    const grant = deps.prepareDeviceGrant()
    const { userId, sessionId } = access
    return guess(access, device, 'password_change_failed', async ({ live, account, guesser }) => {
      const message = await passwords.problem(newPassword, live.user.email, guesser)
      if (message) throw new AuthError('password_rejected', { errors: [{ path: 'newPassword', message }] })
      const session = await deps.newSessionFor(device, ['pwd'])
      let current = account
      let hashed: HashedPassword | undefined
      for (;;) {
        if (!current || !(await passwords.verify(currentPassword, current, guesser))) return undefined
        hashed ??= await passwords.hash(newPassword, guesser)
        const { passwordHash } = current
        const started = await sessions.changePassword(
          userId,
          sessionId,
          passwordHash,
          hashed,
          session,
          async (tx, { user }) => deps.notify?.(tx, { kind: 'password_changed', user, from: device }),
        )
        if (started) return grant(started, guesser.knownDevice)
        // Another request has changed the hash. After a rehash the current password is still right.
        current = await users.credentialsById(userId)
      }
    })
  }
}

export type ChangePassword = ReturnType<typeof createChangePassword>
