import { AuthError } from '../errors.ts'
import type { AccessClaims } from './access-token.ts'
import type { Device } from './device.ts'
import type { Grant, Grants } from './grant.ts'
import { createSessionGuess, type GuessDeps } from './guess.ts'

export function createReauthenticate(deps: GuessDeps & { prepareGrant: Grants['prepareGrant'] }) {
  const { sessions, passwords } = deps
  const guess = createSessionGuess(deps)

  /**
   * Makes the requesting session fresh, if the user knows the password (OWASP ASVS 7.5.1). Rotates its refresh token. No
   * other session becomes fresh.
   * @throws AuthError `too_many_attempts`, `session_ended`, `wrong_password`, `overloaded`, `unavailable`
   */
  return async function reauthenticate(
    access: AccessClaims,
    password: string,
    device: Device,
  ): Promise<Grant> {
    const grant = deps.prepareGrant()
    const { userId, sessionId } = access
    const { ip, userAgent } = device
    return guess(access, device, 'reauthentication_failed', async ({ account, guesser }) => {
      if (!account || !(await passwords.verify(password, account, guesser))) return undefined
      const proven = await sessions.reauthenticate(sessionId, userId, ['pwd'], { ip, userAgent })
      // The session ended during the hashing. A change of the password ends it too, because the old password proves
      // nothing any more.
      if (!proven) throw new AuthError('session_ended')
      return grant(proven)
    })
  }
}

export type Reauthenticate = ReturnType<typeof createReauthenticate>
