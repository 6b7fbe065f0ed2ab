import cookieParser from 'cookie-parser'
import type { CookieOptions, Request, Response } from 'express'

/** The token that a request presents: none, one, or several, of which none can be trusted. */
export type PresentedToken = { kind: 'none' } | { kind: 'one'; token: string } | { kind: 'several' }

/**
 * Parses cookies, and takes their values as they are written. Our tokens need no decoding, and each value that cannot
 * be decoded would cost an exception: 4,000 of them fit into one header.
 */
export const parseCookies = cookieParser(undefined, {
  // The parser reads what begins with "j:" as JSON.
  decode: (value) => (value.startsWith('j:') ? '' : value),
})

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
  // Takes linear time: each blank is looked at once, after its semicolon or after the name.
  const ofName = new RegExp(`(?:^|;)[ \\t]*${name}[ \\t]*=[ \\t]*([^;]*)`, 'g')

  function read(req: Request): PresentedToken {
    const written = Array.from((req.headers.cookie ?? '').matchAll(ofName), ([, value = '']) => value)
    // The parser takes the first of two cookies of one name. Somebody else may have planted that one.
    if (written.length > 1) return { kind: 'several' }
    if (!written[0]) return { kind: 'none' }
    // The parser also takes quotes off. A token has one spelling, without them.
    const value: string = req.cookies[name]
    return { kind: 'one', token: written[0].startsWith(value) ? value : '' }
  }

  // Several cookies of the name differ in their paths. Clear those of the paths that led them to this request,
  // or no login would ever last. `__Host-` cookies all have the path `/`.
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
