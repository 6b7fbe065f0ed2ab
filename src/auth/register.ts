import type { SessionStore } from '../store/sessions.ts'
import type { UserStore } from '../store/users.ts'
import { AuthError } from './errors.ts'
import type { Grant, PrepareGrant } from './grant.ts'
import type { Device, NewSessionFor } from './login.ts'
import type { Passwords } from './password.ts'

export function createRegister(deps: {
  users: UserStore
  sessions: SessionStore
  passwords: Passwords
  prepareGrant: PrepareGrant
  newSessionFor: NewSessionFor
}) {
  /**
   * Makes an account and its first session, both or neither.
   * @throws AuthError `password_rejected`, `email_taken`, `overloaded`, `unavailable`
   */
  return async function register(email: string, password: string, device: Device): Promise<Grant> {
    const message = deps.passwords.problem(password, email)
    if (message) throw new AuthError('password_rejected', { errors: [{ path: 'password', message }] })
    const grant = deps.prepareGrant()
    const session = await deps.newSessionFor(device)
    if (await deps.users.credentialsByEmail(email)) throw new AuthError('email_taken')
    const hashed = await deps.passwords.hash(password)
    const started = await deps.sessions.startForNewUser({ email, ...hashed }, session)
    if (!started) throw new AuthError('email_taken')
    return grant(started)
  }
}
