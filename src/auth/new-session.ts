import { ifPossible } from '../errors.ts'
import type { NewSession } from '../store/sessions.ts'
import type { Device } from './device.ts'
import type { RefreshTokens } from './refresh-token.ts'

export type NewSessionFor = ReturnType<typeof createNewSessions>

/**
 * Describes new sessions for devices. A new session replaces the one whose refresh token the device presents. That
 * session may belong to another user, so its token says nothing about who logs in.
 */
export function createNewSessions(deps: { refreshTokens: RefreshTokens; randomId: () => string }) {
  return async function newSessionFor(
    { userAgent, ip, refreshToken }: Device,
    amr: NewSession['amr'],
  ): Promise<NewSession> {
    // A token whose key is unavailable must not prevent a login.
    const presented = refreshToken ? await ifPossible(deps.refreshTokens.verify(refreshToken)) : undefined
    return { id: deps.randomId(), userAgent, ip, amr, replaces: presented?.sessionId }
  }
}
