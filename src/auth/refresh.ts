import type { Caller } from '../store/audit.ts'
import type { RefreshClaims, SessionStore } from '../store/sessions.ts'
import type { Grant, Grants } from './grant.ts'

/** The result of a refresh, as in the README's state table. */
export type RefreshOutcome =
  | { kind: 'rotated' | 'graced'; grant: Grant }
  | { kind: 'session_ended' }
  | { kind: 'refresh_token_reused'; sessionId: string; userId: string }

/**
 * Rotates refresh tokens and detects reuse (RFC 9700, 4.14.2). A token is good for one rotation. Within the grace
 * window after the rotation, the same token gets the current token again. So a lost response or two tabs at once
 * log no user out, and never create a second branch.
 */
export function createRefresh(deps: { sessions: SessionStore; prepareGrant: Grants['prepareGrant'] }) {
  /**
   * @throws AuthError `unavailable`. Usually nothing has changed then, and the token is still valid. But if the
   * database has rotated the session and only the database's response was lost, the token is valid within the grace
   * window only.
   */
  return async function refresh(claims: RefreshClaims, from: Caller): Promise<RefreshOutcome> {
    const { sessionId, userId, generation, expiresAt } = claims
    const grant = deps.prepareGrant()

    const rotated = await deps.sessions.rotate(claims, from)
    if (rotated) return { kind: 'rotated', grant: grant(rotated) }

    const found = await deps.sessions.find(sessionId, userId)
    if (!found || found.now.getTime() >= expiresAt * 1000) return { kind: 'session_ended' }
    if (found.session.generation === generation + 1 && found.withinGrace)
      return { kind: 'graced', grant: grant(found) }

    // Two parties have this token, and the server cannot tell which one is the thief.
    const ended = await deps.sessions.end(sessionId, userId, 'reuse', from)
    return ended ? { kind: 'refresh_token_reused', sessionId, userId } : { kind: 'session_ended' }
  }
}

export type Refresh = ReturnType<typeof createRefresh>
