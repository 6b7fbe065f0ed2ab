import { z } from 'zod'
import type { TokenKeys } from '../secrets/live-keys.ts'
import type { RefreshClaims, Session } from '../store/sessions.ts'
import { type Clock, createSigner, sessionClaims, verifyToken } from './jwt.ts'

/**
 * Signs and verifies refresh tokens (HS256). Each is a function of the session's row, so the same generation can be
 * issued again. It is the same word for word while the signing key and the idle timeout are the same. The database's
 * clock decides when tokens expire.
 */
export function createRefreshTokens(options: { keys: TokenKeys; issuer: string; clock: Clock }) {
  const kind = {
    ...options,
    typ: 'rt+jwt',
    audience: `${options.issuer}/auth/refresh`,
    claims: sessionClaims.extend({ gen: z.int32().positive() }),
    // This server's clock may be slow. Then the token is valid, and the browser must keep it.
    fromTheFuture: 'unavailable' as const,
  }

  return {
    /** @throws AuthError `unavailable` if there is no key to sign with */
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
     * @throws AuthError `unavailable` if its key cannot be loaded, or if it is from the future because a clock is wrong
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
