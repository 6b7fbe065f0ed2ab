import { z } from 'zod'
import type { TokenKeys } from '../secrets/live-keys.ts'
import type { RefreshClaims, Session } from '../store/sessions.ts'
import { type Clock, createSigner, sessionClaims, verifyToken } from './jwt.ts'

/**
 * Refresh tokens: JWTs that are a function of the session's row, so that the same generation can be issued again
 * word for word. Their end is for the database to judge, not for this clock.
 */
export function createRefreshTokens(options: { keys: TokenKeys; issuer: string; clock: Clock }) {
  const kind = {
    ...options,
    typ: 'rt+jwt',
    audience: `${options.issuer}/auth/refresh`,
    claims: sessionClaims.extend({ gen: z.int32().positive() }),
    // If this server's clock is behind, the token is good, and must not be taken from the browser.
    fromTheFuture: 'unavailable' as const,
  }

  return {
    /** @throws AuthError `unavailable` where there is no key to sign with */
    signer() {
      const sign = createSigner(kind)
      return (session: Session): string =>
        sign({
          sub: session.userId,
          sid: session.id,
          gen: session.generation,
          jti: `${session.id}.${session.generation}`,
          iat: Math.floor(session.rotatedAt.getTime() / 1000),
          exp: Math.floor(session.usableUntil.getTime() / 1000),
        })
    },

    /**
     * Returns what the token says, or undefined if it is not a refresh token of this server.
     * @throws AuthError `unavailable` if its key cannot be loaded, or it was issued in the future: a clock is wrong
     */
    async verify(token: string): Promise<RefreshClaims | undefined> {
      const claims = await verifyToken(token, kind)
      if (!claims) return undefined
      const { sub: userId, sid: sessionId, gen: generation, exp: expiresAt } = claims
      return { userId, sessionId, generation, expiresAt }
    },
  }
}

export type RefreshTokens = ReturnType<typeof createRefreshTokens>
