import type { Device } from '../../auth/device.ts'
import type { DeviceGrant, Grants } from '../../auth/grant.ts'
import type { GuessDeps } from '../../auth/guess.ts'
import type { NewSessionFor } from '../../auth/new-session.ts'
import type { OpenLink } from '../../auth/open-link.ts'
import { AuthError } from '../../errors.ts'
import type { VerificationStore } from './verification-store.ts'

export function createConfirmRegistration(
  deps: GuessDeps & {
    openLink: OpenLink
    prepareDeviceGrant: Grants['prepareDeviceGrant']
    newSessionFor: NewSessionFor
    verifications: VerificationStore
  },
) {
  const { passwords } = deps

  /**
   * Creates the account of a link, with a verified address, and its first session. Demands the password of the
   * registration again, because a stranger may have registered the address. Limited like a login.
   * @throws AuthError `too_many_attempts`, `link_invalid`, `invalid_credentials`, `overloaded`, `unavailable`
   */
  return async function confirmRegistration(
    token: string,
    password: string,
    device: Device,
  ): Promise<DeviceGrant> {
    passwords.refuseIfFull({ ...device, account: token, knownDevice: undefined })
    const grant = deps.prepareDeviceGrant()
    const link = await deps.openLink(token, 'register')
    const taken = await deps.users.isTaken(link?.email ?? '')
    const account = link?.email ?? `link ${token}`
    const guesser = { ...device, account, userId: undefined, knownDevice: undefined }

    const granted = await deps.throttle.guess(guesser, async () => {
      const { passwordHash, passwordScheme } = link ?? {}
      if (!link || !passwordHash || !passwordScheme || taken) throw new AuthError('link_invalid')
      const hashed = { passwordHash, passwordScheme }
      if (!(await passwords.verify(password, hashed, guesser))) return undefined
      const session = await deps.newSessionFor(device, ['pwd'])
      const user = { email: link.email, ...hashed }
      const started = await deps.sessions.startForNewUser(user, session, (tx, userId) =>
        deps.verifications.confirm(tx, link, userId),
      )
      if (!started) throw new AuthError('link_invalid')
      return grant(started)
    })
    if (granted) return granted
    const { ip, userAgent } = device
    await deps.audit.record({ event: 'login_failed', ip, userAgent })
    throw new AuthError('invalid_credentials')
  }
}

export type ConfirmRegistration = ReturnType<typeof createConfirmRegistration>
