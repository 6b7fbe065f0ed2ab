import { AuthError, ifPossible } from '../errors.ts'
import type { SessionState } from '../store/sessions.ts'
import type { Credentials } from '../store/users.ts'
import type { Device } from './device.ts'
import type { DeviceGrant, Grants } from './grant.ts'
import type { GuessDeps } from './guess.ts'
import type { NewSessionFor } from './new-session.ts'
import type { Notify } from './notify.ts'
import type { Asker } from './password.ts'

export type LoginOutcome =
  | { kind: 'granted'; grant: DeviceGrant }
  | { kind: 'second_factor_required'; challenge: Challenge }

/** A login that waits for its second step. */
export interface Challenge {
  /** What the client presents at the second step. */
  challenge: string
  /** Seconds until the challenge expires. */
  expiresIn: number
  /** The factors that the account has. */
  methods: string[]
}

export function createLogin(
  deps: GuessDeps & {
    prepareDeviceGrant: Grants['prepareDeviceGrant']
    newSessionFor: NewSessionFor
    notify?: Notify
    /** Returns a challenge if the password alone is not enough for this account. */
    secondFactor?: (account: Credentials, device: Device) => Promise<Challenge | undefined>
  },
) {
  const { users, sessions, passwords } = deps

  /**
   * Starts a session for a user who knows the password, or asks for the second factor of the account. An unknown
   * e-mail address, a wrong password and a disabled account have the same answer, and the three failures take the same
   * time.
   * @throws AuthError `invalid_credentials`, `too_many_attempts`, `overloaded`, `unavailable`
   */
  return async function login(email: string, password: string, device: Device): Promise<LoginOutcome> {
    // The server has not read the account yet. So here, any device token counts as that of a known device.
    passwords.refuseIfFull({ ...device, account: email, knownDevice: device.deviceToken })
    const signGrant = deps.prepareDeviceGrant()
    const { ip, userAgent } = device
    const account = await users.credentialsByEmail(email)
    const knownDevice = await deps.deviceTokens.verify(device.deviceToken, account)
    const userId = account?.userId
    const guesser = { ...device, account: userId ?? email, userId, knownDevice }

    const outcome = await deps.throttle.guess(guesser, async () => {
      const match = await passwords.verify(password, account, guesser)
      if (!account || !match || account.disabled) return undefined
      const challenge = await deps.secondFactor?.(account, device)
      const result: LoginOutcome = challenge
        ? { kind: 'second_factor_required', challenge }
        : { kind: 'granted', grant: signGrant(await startSession(account, device, knownDevice), knownDevice) }
      if (passwords.isOutdated(account)) await rehash(account, password, guesser)
      return result
    })
    if (outcome) return outcome
    await deps.audit.record({ event: 'login_failed', userId, ip, userAgent })
    throw new AuthError('invalid_credentials')
  }

  async function startSession(
    account: Credentials,
    device: Device,
    knownDevice: string | undefined,
  ): Promise<SessionState> {
    const session = await deps.newSessionFor(device, ['pwd'])
    const started = await sessions.start(account.userId, account.epoch, session, async (tx, { user }) => {
      if (!knownDevice) await deps.notify?.(tx, { kind: 'new_device', user, from: device })
    })
    // A change of the password, a logout everywhere or a disabling came first. This login must not survive it. The
    // password was right when it was checked. So throw: the throttle takes the guess back, and the audit records no
    // failed login.
    if (!started) throw new AuthError('invalid_credentials')
    return started
  }

  // If the queue is full or the database is unavailable, the old hash stays, and the next login tries again.
  async function rehash(account: Credentials, password: string, asker: Asker): Promise<void> {
    const hashed = await ifPossible(passwords.hash(password, asker))
    if (hashed) await ifPossible(users.rehash(account.userId, account.passwordHash, hashed))
  }
}

export type Login = ReturnType<typeof createLogin>
