import { z } from 'zod'
import { AuthError } from '../errors.ts'
import type { TokenKeys } from '../secrets/live-keys.ts'
import type { Session } from '../store/sessions.ts'
import { type Clock, createSigner, sessionClaims, verifyToken } from './jwt.ts'

/** The user and the session that an access token names. */
export interface AccessClaims {
  userId: string
  sessionId: string
  role: string
}

/** What an access token says of its session, and when that ends. */
export type AccessTokenSession = Pick<Session, 'id' | 'userId' | 'authenticatedAt' | 'amr' | 'usableUntil'>

/**
 * Signs and verifies access tokens: JWTs by RFC 9068. Verifying needs no database. Tokens live for `lifetimeSeconds` at
 * most.
 * @param options.issuer the server's own origin; `audience` names the services that accept the tokens
 */
export function createAccessTokens(options: {
  keys: TokenKeys
  issuer: string
  audience: string
  lifetimeSeconds: number
  clock: Clock
  randomId: () => string
}) {
  const { lifetimeSeconds, clock } = options
  const kind = {
    ...options,
    typ: 'at+jwt',
    claims: sessionClaims.extend({ client_id: z.literal('first-party'), role: z.string().min(1) }),
    fromTheFuture: 'invalid' as const,
  }

  return {
    /**
     * Returns a function that signs. A token does not live longer than its session would without a refresh, but at
     * least one second, so that `expiresIn` is positive. `auth_time` and `amr` are those of OpenID Connect Core, 2:
     * they are for other services. This server reads both from the session's row.
     * @throws AuthError `unavailable` if there is no key to sign with
     */
    signer() {
      const sign = createSigner(kind)
      return (session: AccessTokenSession, role: string) => {
        const iat = Math.floor(clock() / 1000)
        const left = Math.floor(session.usableUntil.getTime() / 1000) - iat
        const expiresIn = Math.max(1, Math.min(lifetimeSeconds, left))
        const accessToken = sign({
          sub: session.userId,
          client_id: 'first-party',
          sid: session.id,
          role,
          auth_time: Math.floor(session.authenticatedAt.getTime() / 1000),
          amr: session.amr,
          jti: options.randomId(),
          iat,
          exp: iat + expiresIn,
        })
        return { accessToken, expiresIn }
      }
    },

    /** @throws AuthError `access_token_invalid`, `access_token_expired`, `unavailable` */
    async verify(token: string): Promise<AccessClaims> {
      const claims = await verifyToken(token, kind)
      // This server never issues a lifetime longer than the one configured.
      if (!claims || claims.exp <= claims.iat || claims.exp - claims.iat > lifetimeSeconds)
        throw new AuthError('access_token_invalid')
      if (claims.exp <= clock() / 1000) throw new AuthError('access_token_expired')
      return { userId: claims.sub, sessionId: claims.sid, role: claims.role }
    },
  }
}

export type AccessTokens = ReturnType<typeof createAccessTokens>
