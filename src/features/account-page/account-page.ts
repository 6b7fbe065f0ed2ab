import type { Request } from 'express'
import { z } from 'zod'
import { ifPossible } from '../../errors.ts'
import { pageFiles } from '../../http/page-files.ts'
import { pagePolicy } from '../../http/page-policy.ts'
import { route } from '../../http/route.ts'
import { read } from '../built-file.ts'
import { type Core, feature } from '../feature.ts'

const files = ['account-page.css', 'account-page.js']
const contentPolicy = `${pagePolicy}; require-trusted-types-for 'script'; trusted-types 'none'`
const hidden = { method: 'get', checks: [], group: 'Account page', hidden: true } as const

/** The page that links in mails open. It is the same for every visitor, because servers never see fragments. */
const page = route({
  ...hidden,
  path: '/account',
  name: 'accountPage',
  summary: 'Open a link of a mail',
  answers: { 200: { description: 'A page for browsers.', types: ['text/html'], body: z.string() } },

  handler: () => (_req, res) => {
    res
      .set({
        'Content-Security-Policy': contentPolicy,
        'Referrer-Policy': 'no-referrer',
        'Cache-Control': 'no-store',
      })
      .type('html')
      .end(read('account-page.html').bytes)
  },
})

/** What the page wants to know before the user presses a button. It only reads. */
const loginState = route({
  ...hidden,
  path: '/account/login',
  name: 'accountPageLogin',
  summary: 'Tell whether this browser has a live session',
  answers: {
    200: {
      description: 'Whether the session of the cookie is live, and which other pages this server has.',
      body: z.object({ live: z.boolean(), home: z.boolean(), mailbox: z.boolean() }),
    },
  },

  handler: (core: Core) => async (req, res) => {
    const live = (await ifPossible(hasLiveSession(req, core))) ?? false
    const has = (page: string) => core.routes().some(({ path }) => path === page)
    res.set('Cache-Control', 'no-store').json({ live, home: has('/'), mailbox: has('/demo/mailbox') })
  },
})

const pageFile = pageFiles(
  { path: '/account/:file', name: 'accountPageFile', group: hidden.group, hidden: true },
  (name) => (files.includes(name) ? read(name).bytes : undefined),
)

/** Tells browsers and password managers where to change a password (W3C, A Well-Known URL for Changing Passwords). */
const changePasswordUrl = route({
  ...hidden,
  path: '/.well-known/change-password',
  name: 'changePasswordUrl',
  summary: 'Find the page to change a password',
  answers: { 302: { description: 'The page is at `ACCOUNT_URL`.' } },

  handler:
    ({ accountUrl }: Core) =>
    (_req, res) =>
      res.redirect(302, accountUrl),
})

async function hasLiveSession(req: Request, { cookies, refreshTokens, sessions }: Core): Promise<boolean> {
  const presented = cookies.refresh.read(req)
  const verified = presented.kind === 'one' && (await refreshTokens.verify(presented.token))
  return verified ? (await sessions.find(verified.sessionId, verified.userId)) !== undefined : false
}

/** The page of `ACCOUNT_URL`, while that is the default. */
export const accountPage = feature({
  name: 'account-page',
  settings: {},
  routes: [page, loginState, pageFile],
  page: { title: 'Account page', path: '/account' },
  isOn: (_own, { mail: { accountUrl }, http: { publicUrl, port } }) =>
    accountUrl === undefined ||
    new URL(accountUrl).href === new URL(`${publicUrl ?? `http://localhost:${port}`}/account`).href,
  create: () => ({}),
})

/** Where the page is, wherever that is. */
export const accountUrl = feature({
  name: 'account-url',
  settings: {},
  routes: [changePasswordUrl],
  create: () => ({}),
})
