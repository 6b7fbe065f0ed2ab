import cookieParser from 'cookie-parser'
import type { CookieOptions, Request, Response } from 'express'

/** The token that a request presents. If there are several, none can be trusted. */
export type PresentedToken = { kind: 'none' } | { kind: 'one'; token: string } | { kind: 'several' }

/**
 * Parses cookies without decoding their values. Our tokens need no decoding. Each value that cannot be decoded would cost an
 * exception, and 4,000 of them fit into one header.
 */
export const parseCookies = cookieParser(undefined, {
  // cookie-parser would parse a value that begins with "j:" as JSON.
  decode: (value) => (value.startsWith('j:') ? '' : value),
})

/**
 * Returns the name of a cookie. A secure cookie has the prefix `__Host-`, so that no subdomain and no plain http can plant
 * one. The name of an insecure cookie contains the port. Browsers send cookies to every port of a host, so two servers on
 * localhost would overwrite each other's cookies.
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
  // Linear: the pattern looks at each blank once, after the semicolon or after the name.
  const ofName = new RegExp(`(?:^|;)[ \\t]*${name}[ \\t]*=[ \\t]*([^;]*)`, 'g')

  function read(req: Request): PresentedToken {
    // cookie-parser shows only the first cookie of a name, which someone else may have planted. So count them here.
    const written = Array.from((req.headers.cookie ?? '').matchAll(ofName), ([, value = '']) => value)
    if (written.length > 1) return { kind: 'several' }
    if (!written[0]) return { kind: 'none' }
    // cookie-parser removes quotes. But a token has exactly one spelling, without them.
    const token: string = req.cookies[name]
    return { kind: 'one', token: written[0].startsWith(token) ? token : '' }
  }

  // Several cookies of one name have different paths. Clear those of every path that matches this request. Otherwise no
  // login would ever last. `__Host-` cookies all have the path `/`.
  function clearOthers(res: Response): void {
    if (secure || read(res.req).kind !== 'several') return
    for (const path of pathsAbove(res.req.path)) res.clearCookie(name, { ...attributes, path })
  }

  return {
    name,
    read,
    set(res: Response, token: string, maxAgeSeconds: number): void {
      res.cookie(name, token, { ...attributes, maxAge: maxAgeSeconds * 1000 })
      clearOthers(res)
    },
    clear(res: Response): void {
      res.clearCookie(name, attributes)
      clearOthers(res)
    },
  }
}

/** The paths other than `/` whose cookies browsers send to `path` (RFC 6265, 5.1.4): for /a/b: /a, /a/, /a/b. */
function pathsAbove(path: string): string[] {
  const parents = [...path.matchAll(/(?<=.)\//g)].map(({ index }) => path.slice(0, index))
  return [...parents.flatMap((parent) => [parent, `${parent}/`]), path]
}

export type TokenCookie = ReturnType<typeof createTokenCookie>
