// The lesson of the demo page, in development only. Browsers hide the refresh cookie from scripts, so the server shows
// the page what is in the cookie. The server also plays the thief, who holds a copy of the cookie.
import type { Request, RequestHandler } from 'express'
import ipaddr from 'ipaddr.js'
import type { RefreshTokens } from '../auth/refresh-token.ts'
import { AuthError } from '../errors.ts'
import { plainAddress } from '../network.ts'
import type { SessionStore } from '../store/sessions.ts'
import type { TokenCookie } from './token-cookie.ts'

const copiesKept = 10

/** The handlers of `/demo/lesson/*`. They answer with claims, and never with a token. */
export function createDemoLesson(deps: {
  refreshCookie: TokenCookie
  refreshTokens: RefreshTokens
  sessions: SessionStore
  graceSeconds: number
  randomId: () => string
}) {
  const { refreshCookie, graceSeconds } = deps
  const copies = new Map<string, string>()

  async function readToken(req: Request) {
    const presented = refreshCookie.read(req)
    const token = presented.kind === 'one' ? presented.token : ''
    const verified = await deps.refreshTokens.verify(token)
    return verified && { token, ...verified }
  }

  const handlers = {
    /** Hides the lesson from other machines, also from those that come through a proxy or a tunnel. */
    onThisMachine(req, _res, next) {
      if (!isFromThisMachine(req)) throw new AuthError('not_found')
      next()
    },

    /** Returns the claims of the refresh cookie, and the generation in the row of its session while the session lives. */
    async session(req, res) {
      const presented = await readToken(req)
      const found = presented && (await deps.sessions.find(presented.sessionId, presented.userId))
      res.json({
        claims: presented ? claimsOf(presented.token) : null,
        session: found ? { generation: found.session.generation, graceMs: graceLeft(found) } : null,
        graceSeconds,
      })
    },

    /** Copies the refresh cookie, as a thief would. Returns a name for the copy. */
    async copy(req, res) {
      const presented = await readToken(req)
      if (!presented) throw new AuthError('refresh_token_missing')
      const id = deps.randomId()
      copies.set(id, presented.token)
      for (const oldest of copies.keys()) if (copies.size > copiesKept) copies.delete(oldest)
      res.status(201).json({ id, claims: claimsOf(presented.token) })
    },

    /** Refreshes with a copy, by the route that everyone uses. The new token stays here, with the copy. */
    async refreshCopy(req, res) {
      const id = String(req.params.id)
      const token = copies.get(id)
      if (token === undefined) throw new AuthError('not_found')
      const answer = await fetch(`${ownAddress(req)}/auth/refresh`, {
        method: 'POST',
        headers: { Cookie: `${refreshCookie.name}=${token}`, 'User-Agent': 'Copy of the cookie' },
      })
      const { code = null } = (await answer.json()) as { code?: string }
      const next = tokenIn(answer.headers.getSetCookie(), refreshCookie.name)
      if (next) copies.set(id, next)
      res.json({ status: answer.status, code, claims: next ? claimsOf(next) : null })
    },
  } satisfies Record<string, RequestHandler>

  /** Returns for how many milliseconds the token before the last rotation is still accepted. */
  function graceLeft({ session, now }: { session: { generation: number; rotatedAt: Date }; now: Date }) {
    if (session.generation === 1) return 0
    return Math.max(0, session.rotatedAt.getTime() + graceSeconds * 1000 - now.getTime())
  }

  return handlers
}

export type DemoLesson = ReturnType<typeof createDemoLesson>

/** Whether a request comes from a program on this machine, and no proxy passed it on. */
export function isFromThisMachine({ socket, headers }: Request): boolean {
  const address = plainAddress(socket.remoteAddress)
  const passedOn = headers['x-forwarded-for'] !== undefined || headers.forwarded !== undefined
  return address !== undefined && ipaddr.parse(address).range() === 'loopback' && !passedOn
}

function ownAddress({ socket }: Request): string {
  const address = plainAddress(socket.localAddress) ?? '127.0.0.1'
  return `http://${address.includes(':') ? `[${address}]` : address}:${socket.localPort}`
}

const claimsOf = (token: string): Record<string, unknown> =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())

function tokenIn(cookies: string[], name: string): string | undefined {
  const start = `${name}=`
  const cookie = cookies.find((line) => line.startsWith(start))
  return cookie?.slice(start.length).split(';')[0]
}
