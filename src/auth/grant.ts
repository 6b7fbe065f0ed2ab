import type { SessionState } from '../store/sessions.ts'
import type { User } from '../store/users.ts'
import type { AccessTokens } from './access-token.ts'
import type { DeviceTokens } from './device-token.ts'
import type { RefreshTokens } from './refresh-token.ts'

/** The tokens of a session, and its user. */
export interface Grant {
  accessToken: string
  /** Lifetime of the access token in seconds. */
  expiresIn: number
  refreshToken: string
  /** Seconds until the refresh token expires. */
  refreshExpiresIn: number
  user: User
}

/** Starting a session also makes the device known to the account. */
export interface DeviceGrant extends Grant {
  deviceToken: string
  /** Seconds until the device token expires. */
  deviceExpiresIn: number
}

export type Grants = ReturnType<typeof createGrants>

/**
 * Call `prepareGrant` or `prepareDeviceGrant` before you change a session. They find the signing keys, or throw
 * AuthError `unavailable`. The functions that they return sign, and cannot fail. So a missing key never uses up a
 * refresh token.
 */
export function createGrants(tokens: {
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  deviceTokens: DeviceTokens
}) {
  function prepareGrant() {
    const signAccessToken = tokens.accessTokens.signer()
    const signRefreshToken = tokens.refreshTokens.signer()
    return ({ session, user, now }: SessionState): Grant => ({
      ...signAccessToken(session, user.role),
      refreshToken: signRefreshToken(session),
      refreshExpiresIn: Math.floor((session.usableUntil.getTime() - now.getTime()) / 1000),
      user,
    })
  }

  function prepareDeviceGrant() {
    const grant = prepareGrant()
    const signDeviceToken = tokens.deviceTokens.signer()
    return (started: SessionState, knownDevice?: string): DeviceGrant => ({
      ...grant(started),
      ...signDeviceToken(started.user.id, started.epoch, knownDevice),
    })
  }

  return { prepareGrant, prepareDeviceGrant }
}
