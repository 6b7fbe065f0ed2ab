import type { CookieOptions, Request, Response } from 'express'

/** The token that a request presents: none, one, or several, of which none can be trusted. */
export type PresentedToken = { kind: 'none' } | { kind: 'one'; token: string } | { kind: 'several' }

/**
 * Returns the name of a cookie. A secure one has the prefix `__Host-`, so browsers refuse what a subdomain or plain
 * http would plant. An insecure one carries the port: browsers send cookies to every port of a host, so two servers
 * on localhost would overwrite each other's cookies.
 */
function cookieName(
  plainName: string,
  { secure, publicUrl }: { secure: boolean; publicUrl: string },
): string {
  if (secure) return `__Host-${plainName}`
  const { port } = new URL(publicUrl)
  return port ? `${plainName}_${port}` : plainName
}

/** A cookie with a token. Scripts cannot read it, and browsers send it only with requests of this site to this site. */
export function createTokenCookie(plainName: string, server: { secure: boolean; publicUrl: string }) {
  const { secure } = server
  const name = cookieName(plainName, server)
  const attributes: CookieOptions = { httpOnly: true, sameSite: 'strict', path: '/', secure }

  return {
    name,
    read(req: Request): PresentedToken {
      const header = req.headers.cookie ?? ''
      const written = header.split(';').flatMap((pair) => {
        const [key = '', ...value] = pair.split('=')
        return trimBlanks(key) === name ? [trimBlanks(value.join('='))] : []
      })
      // The parser takes the first of two cookies of one name, and somebody else may have put that one there.
      if (written.length > 1) return { kind: 'several' }
      if (!written[0]) return { kind: 'none' }
      // A token is written as it is. What the parser has decoded, from "%…" or the JSON after "j:", is none.
      return { kind: 'one', token: req.cookies[name] === written[0] ? written[0] : '' }
    },
    set(res: Response, token: string, maxAgeSeconds: number): void {
      res.cookie(name, token, { ...attributes, maxAge: maxAgeSeconds * 1000 })
    },
    clear(res: Response): void {
      res.clearCookie(name, attributes)
    },
  }
}

// Of white space only these two are none of a cookie's name or value, for the parser and for browsers.
const trimBlanks = (text: string) => text.replace(/^[ \t]+|[ \t]+$/g, '')

export type TokenCookie = ReturnType<typeof createTokenCookie>
