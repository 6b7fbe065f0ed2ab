import { readFileSync, statSync } from 'node:fs'
import type { Request, RequestHandler } from 'express'
import { AuthError } from '../errors.ts'
import { isFromThisMachine } from './demo-lesson.ts'
import { pagePolicy } from './docs.ts'
import type { TokenCookie } from './token-cookie.ts'

const contents = new Map<string, { modified: number; text: string; bytes: Buffer }>()

// Built from src/client. Read when it has changed, because `npm run build:client` may build it again. All answers share
// the bytes: clients that do not read them would otherwise hold one copy each in memory.
function read(name: string) {
  const file = new URL(`../../dist/client/${name}`, import.meta.url)
  const { mtimeMs: modified } = statSync(file)
  const known = contents.get(name)
  if (known?.modified === modified) return known
  const bytes = readFileSync(file)
  const content = { modified, text: bytes.toString(), bytes }
  contents.set(name, content)
  return content
}

const files = ['demo.css', 'demo.js', 'auth-client.js', 'browser-name.js', 'messages.js']

/**
 * Serves the page to try the server. `data-login` is `none` if this browser has no refresh cookie, else `unknown`.
 * `data-lesson` is `on` if the server has the lesson, and this browser may use it.
 */
export function demoPage(refreshCookie: TokenCookie, { lesson }: { lesson: boolean }): RequestHandler {
  const policy = `${pagePolicy}; require-trusted-types-for 'script'; trusted-types 'none'`
  return (req, res) => {
    const none = sendsStrictCookies(req) && refreshCookie.read(req).kind === 'none'
    const page = read('demo.html')
      .text.replace('data-login="unknown"', `data-login="${none ? 'none' : 'unknown'}"`)
      .replace('data-lesson="off"', `data-lesson="${lesson && isFromThisMachine(req) ? 'on' : 'off'}"`)
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
  res.type(name).send(read(name).bytes)
}
