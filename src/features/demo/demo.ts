import { randomBytes } from 'node:crypto'
import type { Request } from 'express'
import { z } from 'zod'
import { boolean } from '../../config/values.ts'
import { pageFiles } from '../../http/page-files.ts'
import { pagePolicy } from '../../http/page-policy.ts'
import { route } from '../../http/route.ts'
import { read } from '../built-file.ts'
import { type Core, feature } from '../feature.ts'
import { isFromThisMachine, lessonRoutes, type OwnServices } from './lesson.ts'

const files = [
  'demo.css',
  'demo.js',
  'demo-lesson.js',
  'demo-outcome.js',
  'demo-page.js',
  'demo-sequence.js',
  'demo-tokens.js',
  'auth-client.js',
  'browser-name.js',
  'messages.js',
]
const contentPolicy = `${pagePolicy}; require-trusted-types-for 'script'; trusted-types 'none'`

/**
 * The page. Its `data-login` is `none` if this browser has no refresh cookie, else `unknown`. Its `data-lesson` is `on` if
 * the server has the lesson, and this browser may use it.
 */
const demoPage = route({
  method: 'get',
  path: '/',
  checks: [],
  name: 'demo',
  group: 'Demo',
  summary: 'Try the server',
  hidden: true,
  answers: { 200: { description: 'A page for browsers.', types: ['text/html'], body: z.string() } },

  handler: (core: Core) => (req, res) => {
    const none = sendsStrictCookies(req) && core.cookies.refresh.read(req).kind === 'none'
    const lesson = core.config.development && isFromThisMachine(req)
    const page = read('demo.html')
      .text.replace('data-login="unknown"', `data-login="${none ? 'none' : 'unknown'}"`)
      .replace('data-lesson="off"', `data-lesson="${lesson ? 'on' : 'off'}"`)
    res.set({ 'Content-Security-Policy': contentPolicy, 'Cache-Control': 'no-store' }).type('html').send(page)
  },
})

// Browsers hold back SameSite=Strict cookies if another site led here (RFC 6265bis, 5.5).
const sendsStrictCookies = (req: Request) =>
  ['none', 'same-origin', 'same-site'].includes(req.get('Sec-Fetch-Site') ?? '')

const demoFile = pageFiles({ path: '/demo/:file', name: 'demoFile', group: 'Demo', hidden: true }, (name) =>
  files.includes(name) ? read(name).bytes : undefined,
)

/** A page to try the server, which shows rotation and reuse in development. */
export const demo = feature({
  name: 'demo',
  settings: {
    DEMO: boolean.optional().meta({
      description: 'The demo page at `/`. `false`: 404.',
      computed: '`true` in development, else `false`',
      example: 'true',
    }),
  },
  routes: [demoPage, demoFile],
  page: { title: 'Page to try it', path: '/' },
  isOn: ({ DEMO }, { development }) => DEMO ?? development,
  create: () => ({}),
})

/** The lesson of the page. Only in development, and not if `DEMO` is `false`. */
export const lesson = feature({
  name: 'lesson',
  settings: {},
  routes: lessonRoutes,
  isOn: (_own, { development, features }) => development && features.demo?.DEMO !== false,
  create: ({ config }): OwnServices => ({
    copies: new Map(),
    graceSeconds: config.sessions.graceSeconds,
    randomId: () => randomBytes(6).toString('base64url'),
  }),
})
