import type { Caller } from '../store/audit.ts'
import type { RefreshClaims, SessionStore } from '../store/sessions.ts'
import type { Grant, Grants } from './grant.ts'

/** How a refresh ended; the rows of the README's state table. */
export type RefreshOutcome =
  | { kind: 'rotated' | 'graced'; grant: Grant }
  | { kind: 'session_ended' }
  | { kind: 'refresh_token_reused'; sessionId: string; userId: string }

/**
 * Refresh token rotation with detection of reuse (RFC 9700, 4.14.2). A token is good for one rotation; within the
 * grace window after it, presenting it again gives the same successor, so that a lost answer or two tabs at once log
 * nobody out and never make a second branch.
 */
export function createRefresh(deps: { sessions: SessionStore; prepareGrant: Grants['prepareGrant'] }) {
  /** @throws AuthError `unavailable`; the token is as good as before then */
  return async function refresh(claims: RefreshClaims, from: Caller): Promise<RefreshOutcome> {
    const { sessionId, userId, generation, expiresAt } = claims
    const grant = deps.prepareGrant()

    const rotated = await deps.sessions.rotate(claims, from)
    if (rotated) return { kind: 'rotated', grant: grant(rotated) }

    const found = await deps.sessions.find(sessionId, userId)
    if (!found || found.now.getTime() >= expiresAt * 1000) return { kind: 'session_ended' }
    if (found.session.generation === generation + 1 && found.withinGrace)
      return { kind: 'graced', grant: grant(found) }

    // A token that was used before and is presented again is in two hands, and nobody can tell which is the thief's.
    const ended = await deps.sessions.end(sessionId, userId, 'reuse', from)
    return ended ? { kind: 'refresh_token_reused', sessionId, userId } : { kind: 'session_ended' }
  }
}

export type Refresh = ReturnType<typeof createRefresh>
