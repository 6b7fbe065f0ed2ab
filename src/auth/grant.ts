import type { SessionState } from '../store/sessions.ts'
import type { User } from '../store/users.ts'
import type { AccessTokens } from './access-token.ts'
import type { RefreshTokens } from './refresh-token.ts'

/** What a login, a registration, a change of the password or a refresh gives: the tokens of a session, and whose it is. */
export interface Grant {
  accessToken: string
  /** Lifetime of the access token in seconds. */
  expiresIn: number
  refreshToken: string
  /** Seconds until the refresh token ends. */
  refreshExpiresIn: number
  user: User
}

export type PrepareGrant = ReturnType<typeof createGrants>

/**
 * Call the result before the session is touched: it finds the signing keys, or throws AuthError `unavailable`.
 * What it returns signs, and cannot fail: a missing key never burns a refresh token.
 */
export function createGrants(tokens: { accessTokens: AccessTokens; refreshTokens: RefreshTokens }) {
  return function prepareGrant() {
    const signAccessToken = tokens.accessTokens.signer()
    const signRefreshToken = tokens.refreshTokens.signer()
    return ({ session, user, now }: SessionState): Grant => ({
      ...signAccessToken(session, user.role),
      refreshToken: signRefreshToken(session),
      refreshExpiresIn: Math.floor((session.usableUntil.getTime() - now.getTime()) / 1000),
      user,
    })
  }
}
