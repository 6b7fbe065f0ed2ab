import { readFileSync } from 'node:fs'
import type { Request, RequestHandler } from 'express'
import { AuthError } from '../auth/errors.ts'
import { pagePolicy } from './docs.ts'
import type { TokenCookie } from './token-cookie.ts'

// Built from src/client. Read for each request, because `npm run build:client` may build them again.
const read = (name: string) => readFileSync(new URL(`../../dist/client/${name}`, import.meta.url), 'utf8')

const files = ['demo.css', 'demo.js', 'auth-client.js', 'browser-name.js', 'messages.js']

/** Serves the page to try the server. `data-login` is `none` if this browser has no refresh cookie, else `unknown`. */
export function demoPage(refreshCookie: TokenCookie): RequestHandler {
  const policy = `${pagePolicy}; require-trusted-types-for 'script'; trusted-types 'none'`
  return (req, res) => {
    const none = sendsStrictCookies(req) && refreshCookie.read(req).kind === 'none'
    const page = read('demo.html').replace(
      'data-login="unknown"',
      `data-login="${none ? 'none' : 'unknown'}"`,
    )
    res.set({ 'Content-Security-Policy': policy, 'Cache-Control': 'no-store' }).type('html').send(page)
  }
}

// When another site led here, browsers hold back cookies that are SameSite=Strict (RFC 6265bis, 5.5).
const sendsStrictCookies = (req: Request) =>
  ['none', 'same-origin', 'same-site'].includes(req.get('Sec-Fetch-Site') ?? '')

/** Serves the files of the page. */
export const demoFile: RequestHandler = (req, res) => {
  const name = String(req.params.file)
  if (!files.includes(name)) throw new AuthError('not_found')
  res.type(name).send(read(name))
}
