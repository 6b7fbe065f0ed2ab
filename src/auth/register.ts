import { AuthError } from '../errors.ts'
import type { Caller } from '../store/audit.ts'
import type { Queries } from '../store/database.ts'
import type { SessionStore } from '../store/sessions.ts'
import type { UserStore } from '../store/users.ts'
import type { Device } from './device.ts'
import type { DeviceGrant, Grants } from './grant.ts'
import type { NewSessionFor } from './new-session.ts'
import type { HashedPassword, Passwords } from './password.ts'
import type { Throttle } from './throttle.ts'

export type RegisterOutcome = { kind: 'granted'; grant: DeviceGrant } | { kind: 'confirmation_required' }

/** How e-mail addresses of new accounts are verified. */
export interface Verification {
  /**
   * Mails a link that creates the account. Does the same work for every address. Undefined if registering creates the
   * account at once.
   */
  confirmFirst: ((email: string, hashed: HashedPassword, from: Caller) => Promise<void>) | undefined
  /**
   * Prepares a mail with a link that verifies the address of a new account.
   * @returns what to do in the transaction that creates the account
   */
  prepareMail: (email: string, from: Caller) => Promise<(tx: Queries, userId: string) => Promise<void>>
}

export function createRegister(deps: {
  users: UserStore
  sessions: SessionStore
  passwords: Passwords
  throttle: Throttle
  prepareDeviceGrant: Grants['prepareDeviceGrant']
  newSessionFor: NewSessionFor
  /** Undefined if registering sends no mail. */
  verification?: Verification | undefined
}) {
  const { passwords, verification } = deps

  /**
   * Creates an account and its first session, both or neither. If accounts need a confirmed address, asks for the
   * confirmation instead, and starts no session.
   * @throws AuthError `too_many_attempts`, `password_rejected`, `email_taken`, `overloaded`, `unavailable`
   */
  return async function register(email: string, password: string, device: Device): Promise<RegisterOutcome> {
    const asker = { ...device, account: email, knownDevice: undefined }
    passwords.refuseIfFull(asker)
    const grant = deps.prepareDeviceGrant()
    await deps.throttle.registration(device)
    const message = await passwords.problem(password, email, asker)
    if (message) throw new AuthError('password_rejected', { errors: [{ path: 'password', message }] })
    if (verification) await deps.throttle.mailRequest(device)
    if (verification?.confirmFirst) {
      await verification.confirmFirst(email, await passwords.hash(password, asker), device)
      return { kind: 'confirmation_required' }
    }
    const session = await deps.newSessionFor(device, ['pwd'])
    if (await deps.users.isTaken(email)) throw new AuthError('email_taken')
    const hashed = await passwords.hash(password, asker)
    const queueMail = await verification?.prepareMail(email, device)
    const started = await deps.sessions.startForNewUser({ email, ...hashed }, session, queueMail)
    if (!started) throw new AuthError('email_taken')
    return { kind: 'granted', grant: grant(started) }
  }
}

export type Register = ReturnType<typeof createRegister>
