// The lesson of the demo page, in development only. Browsers hide the refresh cookie from scripts, so the server shows
// the page what is in the cookie. The server also plays the thief, who holds a copy of the cookie.
import type { Request } from 'express'
import ipaddr from 'ipaddr.js'
import { z } from 'zod'
import { AuthError } from '../../errors.ts'
import { noBody } from '../../http/body.ts'
import { sameSite } from '../../http/cross-site.ts'
import { type Check, type CheckServices, route } from '../../http/route.ts'
import { plainAddress } from '../../network.ts'

const copiesKept = 10
const claims = z.looseObject({})
const hidden = { group: 'Demo', hidden: true }

export interface OwnServices {
  /** Tokens that the thief holds, by the name of the copy. */
  copies: Map<string, string>
  graceSeconds: number
  randomId: () => string
}
type LessonServices = CheckServices & OwnServices

/** Hides the lesson from other machines, also from those that come through a proxy or a tunnel. */
const onThisMachine = {
  problems: ['not_found'],
  handler: () => (req, _res, next) => {
    if (!isFromThisMachine(req)) throw new AuthError('not_found')
    next()
  },
} satisfies Check

/** Shows the claims of the refresh cookie, and the generation in the row of its session while the session lives. */
const showSession = route({
  ...hidden,
  method: 'get',
  path: '/demo/lesson/session',
  checks: [onThisMachine],
  name: 'lessonSession',
  summary: 'Show what is in the refresh cookie, and in the database',
  answers: {
    200: {
      description: 'Claims, never a token.',
      body: z.object({
        claims: claims.nullable(),
        session: z.object({ generation: z.int(), graceMs: z.number() }).nullable(),
        graceSeconds: z.number(),
      }),
    },
  },

  handler: (services: LessonServices) => async (req, res) => {
    const presented = await readToken(req, services)
    const found = presented && (await services.sessions.find(presented.sessionId, presented.userId))
    const { graceSeconds } = services
    res.json({
      claims: presented ? claimsOf(presented.token) : null,
      session: found
        ? { generation: found.session.generation, graceMs: graceLeft(found, graceSeconds) }
        : null,
      graceSeconds,
    })
  },
})

/** Copies the refresh cookie, as a thief would. Returns a name for the copy. */
const copyCookie = route({
  ...hidden,
  method: 'post',
  path: '/demo/lesson/copies',
  checks: [sameSite, onThisMachine, noBody],
  name: 'lessonCopy',
  summary: 'Copy the refresh cookie',
  answers: { 201: { description: 'A name for the copy.', body: z.object({ id: z.string(), claims }) } },
  problems: ['refresh_token_missing'],

  handler: (services: LessonServices) => async (req, res) => {
    const presented = await readToken(req, services)
    if (!presented) throw new AuthError('refresh_token_missing')
    const { copies } = services
    const id = services.randomId()
    copies.set(id, presented.token)
    for (const oldest of copies.keys()) if (copies.size > copiesKept) copies.delete(oldest)
    res.status(201).json({ id, claims: claimsOf(presented.token) })
  },
})

/** Refreshes with a copy, by the route that everyone uses. The new token stays here, with the copy. */
const refreshCopy = route({
  ...hidden,
  method: 'post',
  path: '/demo/lesson/copies/:id/refresh',
  checks: [sameSite, onThisMachine, noBody],
  name: 'lessonRefresh',
  summary: 'Refresh with a copy',
  answers: {
    200: {
      description: 'How the refresh ended.',
      body: z.object({ status: z.int(), code: z.string().nullable(), claims: claims.nullable() }),
    },
  },

  handler:
    ({ copies, cookies }: LessonServices) =>
    async (req, res) => {
      const id = String(req.params.id)
      const token = copies.get(id)
      if (token === undefined) throw new AuthError('not_found')
      const { name } = cookies.refresh
      const answer = await fetch(`${ownAddress(req)}/auth/refresh`, {
        method: 'POST',
        headers: { Cookie: `${name}=${token}`, 'User-Agent': 'Copy of the cookie' },
      })
      const { code = null } = (await answer.json()) as { code?: string }
      const next = tokenIn(answer.headers.getSetCookie(), name)
      if (next) copies.set(id, next)
      res.json({ status: answer.status, code, claims: next ? claimsOf(next) : null })
    },
})

export const lessonRoutes = [showSession, copyCookie, refreshCopy]

async function readToken(req: Request, { cookies, refreshTokens }: LessonServices) {
  const presented = cookies.refresh.read(req)
  const token = presented.kind === 'one' ? presented.token : ''
  const verified = await refreshTokens.verify(token)
  return verified && { token, ...verified }
}

/** Returns for how many milliseconds the token before the last rotation is still accepted. */
function graceLeft(
  { session, now }: { session: { generation: number; rotatedAt: Date }; now: Date },
  graceSeconds: number,
): number {
  if (session.generation === 1) return 0
  return Math.max(0, session.rotatedAt.getTime() + graceSeconds * 1000 - now.getTime())
}

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
