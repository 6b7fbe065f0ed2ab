import type { CookieOptions, Request, Response } from 'express'

/** The refresh token that a request presents: none, one, or several, of which none can be trusted. */
export type PresentedToken = { kind: 'none' } | { kind: 'one'; token: string } | { kind: 'several' }

/**
 * The cookie with the refresh token: out of reach of scripts, sent to this site only, by requests of this site only.
 * Where it is secure its name makes browsers refuse one that a subdomain or plain http would plant.
 */
export function createRefreshCookie({ secure }: { secure: boolean }) {
  const name = secure ? '__Host-refresh_token' : 'refresh_token'
  const attributes: CookieOptions = { httpOnly: true, sameSite: 'strict', path: '/', secure }

  return {
    read(req: Request): PresentedToken {
      // The parser takes the first of two cookies of one name, and somebody else may have put that one there.
      const count = (req.headers.cookie ?? '')
        .split(';')
        .filter((pair) => pair.split('=')[0]?.trim() === name).length
      if (count > 1) return { kind: 'several' }
      const value: unknown = req.cookies[name]
      if (value === undefined || value === '') return { kind: 'none' }
      // The parser makes objects of values that begin with "j:".
      return { kind: 'one', token: String(value) }
    },
    set(res: Response, token: string, maxAgeSeconds: number): void {
      res.cookie(name, token, { ...attributes, maxAge: maxAgeSeconds * 1000 })
    },
    clear(res: Response): void {
      res.clearCookie(name, attributes)
    },
  }
}

export type RefreshCookie = ReturnType<typeof createRefreshCookie>
