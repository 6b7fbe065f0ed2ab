import type { SessionStore } from '../store/sessions.ts'
import type { User, UserStore } from '../store/users.ts'
import { AuthError } from './errors.ts'
import type { HashedPassword, Passwords } from './password.ts'

export function createChangePassword(deps: {
  users: UserStore
  sessions: SessionStore
  passwords: Passwords
}) {
  const { users, sessions, passwords } = deps

  /**
   * Changes the password of a user who knows the current one, and ends the user's sessions but `sessionId`.
   * @throws AuthError `password_rejected`, `wrong_password`, `overloaded`, `unavailable`
   */
  return async function changePassword(
    user: User,
    sessionId: string,
    currentPassword: string,
    newPassword: string,
  ): Promise<void> {
    const message = passwords.problem(newPassword, user.email)
    if (message) throw new AuthError('password_rejected', { errors: [{ path: 'newPassword', message }] })
    let hashed: HashedPassword | undefined
    for (;;) {
      const account = await users.credentialsById(user.id)
      if (!account || !(await passwords.verify(currentPassword, account)))
        throw new AuthError('wrong_password')
      hashed ??= await passwords.hash(newPassword)
      const changed = await sessions.changePassword(user.id, account.passwordHash, hashed, sessionId)
      if (changed) return
      // Overtaken: by another change, which the current password will not survive, or by a rehash, which it will.
    }
  }
}
