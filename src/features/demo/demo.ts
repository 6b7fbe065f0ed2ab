import { randomUUID } from 'node:crypto'
import type { Request } from 'express'
import { z } from 'zod'
import { AuthError } from '../../errors.ts'
import { pagePolicy } from '../../http/page-policy.ts'
import { route } from '../../http/route.ts'
import { type Core, feature } from '../feature.ts'
import { read } from './files.ts'
import { isFromThisMachine, type LessonServices, lessonRoutes } from './lesson.ts'

const files = ['demo.css', 'demo.js', 'auth-client.js', 'browser-name.js', 'messages.js']
const contentPolicy = `${pagePolicy}; require-trusted-types-for 'script'; trusted-types 'none'`

/**
 * The page. Its `data-login` is `none` if this browser has no refresh cookie, else `unknown`. Its `data-lesson` is `on` if
 * the server has the lesson, and this browser may use it.
 */
const demoPage = route({
  method: 'get',
  path: '/',
  name: 'demo',
  group: 'Demo',
  summary: 'Try the server',
  hidden: true,
  checks: [],
  answers: { 200: { description: 'A page for browsers.', types: ['text/html'], body: z.string() } },

  handler:
    ({ cookies, config }: Core) =>
    (req, res) => {
      const none = sendsStrictCookies(req) && cookies.refresh.read(req).kind === 'none'
      const lesson = config.development && isFromThisMachine(req)
      const page = read('demo.html')
        .text.replace('data-login="unknown"', `data-login="${none ? 'none' : 'unknown'}"`)
        .replace('data-lesson="off"', `data-lesson="${lesson ? 'on' : 'off'}"`)
      res
        .set({ 'Content-Security-Policy': contentPolicy, 'Cache-Control': 'no-store' })
        .type('html')
        .send(page)
    },
})

// Browsers hold back SameSite=Strict cookies if another site led here (RFC 6265bis, 5.5).
const sendsStrictCookies = (req: Request) =>
  ['none', 'same-origin', 'same-site'].includes(req.get('Sec-Fetch-Site') ?? '')

const demoFile = route({
  method: 'get',
  path: '/demo/:file',
  name: 'demoFile',
  group: 'Demo',
  summary: 'Get a file of the page',
  hidden: true,
  checks: [],
  answers: {
    200: {
      description: 'A script or a style sheet.',
      types: ['text/javascript', 'text/css'],
      body: z.string(),
    },
  },
  problems: ['not_found'],

  handler: () => (req, res) => {
    const name = String(req.params.file)
    if (!files.includes(name)) throw new AuthError('not_found')
    res.type(name).end(read(name).bytes)
  },
})

/** A page to try the server. `DEMO` switches it on or off. By default it is there in development only. */
export const demo = feature({
  name: 'demo',
  routes: [demoPage, demoFile],
  create: ({ config }) => (config.http.demo ? {} : undefined),
})

/** What the page needs to show rotation and reuse. Only in development, whatever `DEMO` says. */
export const lesson = feature({
  name: 'lesson',
  routes: lessonRoutes,
  create: ({ config }): Pick<LessonServices, 'copies' | 'graceSeconds' | 'randomId'> | undefined =>
    config.http.demo && config.development
      ? { copies: new Map(), graceSeconds: config.sessions.graceSeconds, randomId: randomUUID }
      : undefined,
})
