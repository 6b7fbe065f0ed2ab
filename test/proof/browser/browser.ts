import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type { AuthClient, Change, User } from '../../../src/client/auth-client.ts'
import { newEmail, password } from '../../support/app.ts'
import { type ServerProcess, send, startServer } from '../../support/server.ts'
import { launchBrowser, present } from './engine.ts'
import { createGate, type Gate } from './gate.ts'

export { engine, keepsSecureCookies } from './engine.ts'
export { eventually } from './eventually.ts'

/** `describe` if the browser is on this machine. */
export const inBrowser = present ? describe : describe.skip

export interface Stage {
  browser: Browser
  /** A browser profile without cookies, new for each test. */
  context: BrowserContext
  server: ServerProcess
  /** Stands between pages and the server. */
  gate: Gate
  /** The origin of the pages. It has another port than the server, so it is of the same site. */
  pages: string
  /** Unhandled errors of pages. */
  errors: string[]
}

export interface Failure {
  name: string
  code?: string
  status?: number
  message: string
}

declare global {
  var auth: AuthClient
  var changes: Change[]
  /** The address of the server for the page. */
  var api: string
  /** Returns why a promise rejects, or undefined if it does not. */
  var failure: (promise: Promise<unknown>) => Promise<Failure | undefined>
  /** How far the clocks of this page are ahead, in milliseconds. */
  var skew: number
}

// Firefox reports these in addition to the errors of scripts.
const firefoxNotice = /^(?:Error: )?(?:Cross-Origin Request Blocked|The resource at|Content-Security-Policy)/

/** Starts a server, a gate in front of it, an origin with the client and a browser, for the tests of a file. */
export function useStage(settings: Record<string, string> = {}): Stage {
  const stage = { errors: [] as string[] } as Stage
  const pages = createServer((req, res) => {
    const isClient = req.url === '/auth-client.js'
    res.setHeader('Content-Type', isClient ? 'text/javascript' : 'text/html')
    res.end(isClient ? readFileSync('dist/client/auth-client.js') : '<!doctype html><title>page</title>')
  })
  beforeAll(async () => {
    await once(pages.listen(0, '127.0.0.1'), 'listening')
    stage.pages = `http://localhost:${(pages.address() as AddressInfo).port}`
    stage.gate = await createGate(() => stage.server.url)
    const origins = `${stage.pages},${stage.gate.url}`
    stage.server = await startServer({ CORS_ORIGINS: origins, DEMO: 'true', ...settings })
    stage.browser = await launchBrowser()
  })
  beforeEach(async () => {
    stage.context = await stage.browser.newContext()
    stage.context.on('weberror', (error) => {
      const text = String(error.error())
      if (!firefoxNotice.test(text)) stage.errors.push(text)
    })
  })
  afterEach(async () => {
    stage.gate.relent()
    stage.gate.open()
    await stage.context.close()
    expect(stage.errors.splice(0)).toEqual([])
  })
  afterAll(async () => {
    await stage.browser?.close()
    stage.gate?.close()
    pages.close()
    await stage.server?.end('SIGTERM')
  })
  return stage
}

/** Opens a tab with a client, as `globalThis.auth`. `before` runs in the page before everything else. */
export async function openTab({ context, pages, gate }: Stage, before?: () => void): Promise<Page> {
  const page = await context.newPage()
  await page.addInitScript(preparePage)
  if (before) await page.addInitScript(before)
  await page.goto(pages)
  await page.evaluate(async (url) => {
    const { createAuthClient } = await import('/auth-client.js' as string)
    globalThis.api = url
    globalThis.auth = createAuthClient({ url })
    globalThis.changes = []
    globalThis.auth.onChange((change) => globalThis.changes.push(change))
  }, gate.url)
  return page
}

function preparePage(): void {
  globalThis.skew = 0
  const wall = Date.now
  const running = performance.now.bind(performance)
  Date.now = () => wall() + globalThis.skew
  performance.now = () => running() + globalThis.skew
  globalThis.failure = (promise) =>
    promise.then(
      () => undefined,
      ({ name, code, status, message }) => ({ name, code, status, message }),
    )
}

/** Registers a user without a browser. */
export async function newUser({ server }: Stage): Promise<string> {
  const email = newEmail()
  const { status } = await send('POST', `${server.url}/auth/register`, { body: { email, password } })
  expect(status).toBe(201)
  return email
}

export const logIn = (page: Page, email: string) =>
  page.evaluate(
    ([email, password]) => globalThis.auth.login(String(email), String(password)),
    [email, password],
  )

/** Registers a user, and opens a tab where the user has logged in. */
export async function openLoggedIn(stage: Stage, before?: () => void): Promise<{ tab: Page; email: string }> {
  const email = await newUser(stage)
  const tab = await openTab(stage, before)
  await logIn(tab, email)
  return { tab, email }
}

/** Sets the clocks of pages forward by the lifetime of an access token. */
export async function passLifetime(...tabs: Page[]): Promise<void> {
  for (const tab of tabs)
    await tab.evaluate(() => {
      globalThis.skew += 900_000
    })
}

export const boot = (page: Page) => page.evaluate(() => globalThis.auth.refresh())
export const userOf = (page: Page): Promise<User | undefined> => page.evaluate(() => globalThis.auth.user())
export const emailOf = async (page: Page) => (await userOf(page))?.email
export const reasonsOf = (page: Page) => page.evaluate(() => globalThis.changes.map(({ reason }) => reason))

/** Asks the server who is logged in, with the client. */
export const me = (page: Page) =>
  page.evaluate(async () => {
    const answer = await globalThis.auth.fetch(`${globalThis.api}/users/me`)
    return { status: answer.status, email: (await answer.json()).email as string | undefined }
  })
