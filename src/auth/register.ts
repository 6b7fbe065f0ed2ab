import { AuthError } from '../errors.ts'
import type { SessionStore } from '../store/sessions.ts'
import type { UserStore } from '../store/users.ts'
import type { Device } from './device.ts'
import type { DeviceGrant, Grants } from './grant.ts'
import type { NewSessionFor } from './new-session.ts'
import type { Passwords } from './password.ts'
import type { Throttle } from './throttle.ts'

export function createRegister(deps: {
  users: UserStore
  sessions: SessionStore
  passwords: Passwords
  throttle: Throttle
  prepareDeviceGrant: Grants['prepareDeviceGrant']
  newSessionFor: NewSessionFor
}) {
  /**
   * Creates an account and its first session, both or neither.
   * @throws AuthError `too_many_attempts`, `password_rejected`, `email_taken`, `overloaded`, `unavailable`
   */
  return async function register(email: string, password: string, device: Device): Promise<DeviceGrant> {
    const asker = { ...device, account: email, knownDevice: undefined }
    deps.passwords.refuseIfFull(asker)
    const grant = deps.prepareDeviceGrant()
    await deps.throttle.registration(device)
    const message = await deps.passwords.problem(password, email, asker)
    if (message) throw new AuthError('password_rejected', { errors: [{ path: 'password', message }] })
    const session = await deps.newSessionFor(device, ['pwd'])
    if (await deps.users.credentialsByEmail(email)) throw new AuthError('email_taken')
    const hashed = await deps.passwords.hash(password, asker)
    const started = await deps.sessions.startForNewUser({ email, ...hashed }, session)
    if (!started) throw new AuthError('email_taken')
    return grant(started)
  }
}

export type Register = ReturnType<typeof createRegister>
