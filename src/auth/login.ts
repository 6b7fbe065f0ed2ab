import type { SessionStore } from '../store/sessions.ts'
import type { UserStore } from '../store/users.ts'
import { AuthError } from './errors.ts'
import type { Grant, PrepareGrant } from './grant.ts'
import type { Passwords } from './password.ts'
import type { RefreshClaims, RefreshTokens } from './refresh-token.ts'

/** The device that asks, and the refresh token it presented, if any. */
export interface Device {
  userAgent: string | undefined
  ip: string | undefined
  presentedToken: string | undefined
}

export type NewSessionFor = ReturnType<typeof createNewSessions>

/** New sessions for devices. Of a presented token only which session to end is taken, never who it belongs to. */
export function createNewSessions(deps: { refreshTokens: RefreshTokens; randomId: () => string }) {
  return async function newSessionFor({ userAgent, ip, presentedToken }: Device) {
    const presented = presentedToken ? await verifyIfPossible(presentedToken) : undefined
    return { id: deps.randomId(), userAgent, ip, replaces: presented?.sessionId }
  }

  // A cookie nobody can judge, as its key is out of reach, keeps nobody from logging in.
  async function verifyIfPossible(token: string): Promise<RefreshClaims | undefined> {
    try {
      return await deps.refreshTokens.verify(token)
    } catch (error) {
      if (error instanceof AuthError) return undefined
      throw error
    }
  }
}

export function createLogin(deps: {
  users: UserStore
  sessions: SessionStore
  passwords: Passwords
  prepareGrant: PrepareGrant
  newSessionFor: NewSessionFor
}) {
  const { users, sessions, passwords } = deps

  /**
   * Starts a session for whoever knows the password. An unknown address, a wrong password and a disabled account
   * cannot be told apart, by the answer or by the time it takes.
   * @throws AuthError `invalid_credentials`, `overloaded`, `unavailable`
   */
  return async function login(email: string, password: string, device: Device): Promise<Grant> {
    const grant = deps.prepareGrant()
    const session = await deps.newSessionFor(device)
    const account = await users.credentialsByEmail(email)
    const match = await passwords.verify(password, account)
    if (!account || !match || account.disabled) throw new AuthError('invalid_credentials')
    // Overtaken by a change of the password or a logout everywhere, this login must not outlive it.
    const started = await sessions.start(account.userId, account.epoch, session)
    if (!started) throw new AuthError('invalid_credentials')
    if (passwords.isOutdated(account)) await rehash(account.userId, account.passwordHash, password)
    return grant(started)
  }

  // Best effort: an overloaded queue or a lost connection leaves the old hash, and the next login tries again.
  async function rehash(userId: string, from: string, password: string): Promise<void> {
    try {
      await users.rehash(userId, from, await passwords.hash(password))
    } catch (error) {
      if (!(error instanceof AuthError)) throw error
    }
  }
}
