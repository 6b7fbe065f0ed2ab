import type { Caller } from '../store/audit.ts'
import type { SessionStore } from '../store/sessions.ts'
import type { RefreshTokens } from './refresh-token.ts'

export function createLogout(deps: { refreshTokens: RefreshTokens; sessions: SessionStore }) {
  /**
   * Ends the session of a refresh token, whatever its generation. Ignores a token that is not valid or whose session
   * has ended, because the caller is logged out already.
   * @throws AuthError `unavailable` if the session could not be ended
   */
  return async function logout(token: string, from: Caller): Promise<void> {
    const claims = await deps.refreshTokens.verify(token)
    if (claims) await deps.sessions.end(claims.sessionId, claims.userId, 'logout', from)
  }
}

export type Logout = ReturnType<typeof createLogout>
