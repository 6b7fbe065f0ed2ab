import { z } from 'zod'
import type { TokenKeys } from '../secrets/keys.ts'
import type { Session } from '../store/sessions.ts'
import { type Clock, createSigner, sessionClaims, verifyToken } from './jwt.ts'

/** What a refresh token says: which session it belongs to, and at which generation. */
export interface RefreshClaims {
  userId: string
  sessionId: string
  generation: number
}

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

    /** @returns undefined where it is not a refresh token of this server; throws AuthError `unavailable` */
    async verify(token: string): Promise<RefreshClaims | undefined> {
      const claims = await verifyToken(token, kind)
      return claims && { userId: claims.sub, sessionId: claims.sid, generation: claims.gen }
    },
  }
}

export type RefreshTokens = ReturnType<typeof createRefreshTokens>
