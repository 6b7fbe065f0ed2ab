// Drives WebKitGTK (Debian: webkit2gtk-driver, xvfb) by W3C WebDriver, with the part of Playwright's API that these
// suites use. Playwright can drive only its own build of WebKit.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { freePort } from '../../support/free-port.ts'
import { answerMs } from '../../support/time-limits.js'
import { eventually } from './eventually.ts'

/** Sends a command to the driver. Rejects with the driver's message. */
type Call = (method: string, path: string, body?: object, signal?: AbortSignal) => Promise<unknown>

/** The JSON key under which WebDriver names an element (W3C WebDriver, 12.2). */
const elementKey = 'element-6066-11e4-a52e-4f735466cecf'
const keys: Record<string, string> = { Tab: '\uE004', Enter: '\uE007' }

/** Starts a virtual screen for browsers. `miniBrowser` is the path of WebKitGTK's browser. */
export async function launchWebKit(miniBrowser: string): Promise<Browser> {
  const screen = spawn('Xvfb', ['-displayfd', '3', '-screen', '0', '1280x1024x24', '-nolisten', 'tcp'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  })
  const [display] = await once(screen.stdio[3] as Readable, 'data')
  const browser = {
    async newContext() {
      const { driver, call, session } = await startSession(miniBrowser, `:${String(display).trim()}`)
      return createContext(call, session, () => end(driver))
    },
    close: () => end(screen),
  }
  return browser as unknown as Browser
}

/**
 * Starts a driver, and by it a browser process with an empty profile. The driver chooses a free port on which the browser
 * will listen. If another process takes this port first, the driver waits for its browser forever. So another driver
 * tries again.
 */
async function startSession(miniBrowser: string, display: string) {
  const wanted = { 'webkitgtk:browserOptions': { binary: miniBrowser, args: ['--automation'] } }
  for (let triesLeft = 2; ; triesLeft--) {
    const port = await freePort()
    const driver = spawn('WebKitWebDriver', [`--port=${port}`], {
      stdio: 'ignore',
      env: { ...process.env, DISPLAY: display },
    })
    const call = createCall(port)
    try {
      await eventually(() => call('GET', '/status').then(Boolean, () => false))
      const signal = AbortSignal.timeout(answerMs)
      const started = await call('POST', '/session', { capabilities: { alwaysMatch: wanted } }, signal)
      return { driver, call, session: `/session/${Reflect.get(Object(started), 'sessionId')}` }
    } catch (error) {
      await end(driver)
      if (triesLeft === 0) throw error
    }
  }
}

const createCall =
  (port: number): Call =>
  async (method, path, body = {}, signal) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      ...(method === 'POST' && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
    })
    const { value } = await answer.json()
    if (!answer.ok) throw new Error(`${method} ${path}: ${value.error}: ${value.message}`)
    return value
  }

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = once(child, 'exit')
  child.kill()
  await closed
}

function createContext(call: Call, session: string, endDriver: () => Promise<void>) {
  // A session has one current window. Switch to a window and use it in one turn.
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = turn.then(work)
    turn = mine.catch(() => {})
    return mine
  }
  let first: unknown
  let lastOrigin = ''
  const watchers: ((error: { error(): string }) => void)[] = []
  const inWindow =
    (handle: unknown): Call =>
    (method, path, body) =>
      inTurn(async () => {
        await call('POST', `${session}/window`, { handle })
        return call(method, session + path, body)
      })
  const context = {
    on(_name: 'weberror', watcher: (error: { error(): string }) => void) {
      watchers.push(watcher)
    },
    report(errors: string[]) {
      for (const text of errors) for (const watcher of watchers) watcher({ error: () => text })
    },
    visit(url: string) {
      lastOrigin = new URL(url).origin
    },
    async newPage() {
      // Keep the first window open, because WebDriver can open windows only from an open one.
      first ??= await inTurn(() => call('GET', `${session}/window`))
      const opened = await inWindow(first)('POST', '/window/new', { type: 'window' })
      return createPage(context, inWindow(Reflect.get(Object(opened), 'handle')))
    },
    /** Opens the URL first, because WebDriver has only the cookies of the current document. */
    async cookies(url = lastOrigin) {
      const page = await context.newPage()
      await page.goto(`${new URL(url).origin}/livez`)
      const cookies = await page.command('GET', '/cookie')
      await page.close()
      return cookies
    },
    async close() {
      await inTurn(() => call('DELETE', session))
      await endDriver()
    },
  }
  return context as typeof context & Pick<BrowserContext, never>
}

function createPage(context: ReturnType<typeof createContext>, command: Call) {
  const inits: string[] = [`(${watchErrors})()`]
  let calls = 0
  const run = (script: string, ...args: unknown[]) => command('POST', '/execute/sync', { script, args })
  const prepare = async () => {
    for (const script of inits) await run(script)
  }

  /** Polls for the result, because all other windows wait for a command that waits. */
  async function evaluate(work: unknown, arg?: unknown): Promise<unknown> {
    if (typeof work === 'string') return void (await run(work))
    const id = `call${calls++}`
    await run(
      `const [id, text] = arguments
       const given = text === null ? undefined : JSON.parse(text)
       const results = (globalThis.__results ??= {})
       const pack = (value) => JSON.stringify(value, (_, v) => (v === undefined ? { __undefined: 1 } : v))
       ;(async () => (${work})(given))().then(
         (value) => { results[id] = pack({ value }) },
         (error) => { results[id] = pack({ error: { name: error?.name, message: String(error?.message ?? error) } }) },
       )`,
      id,
      arg === undefined ? null : JSON.stringify(arg),
    )
    for (let pause = 5; ; pause = Math.min(pause * 1.5, 50)) {
      const answer = (await run(
        `const results = globalThis.__results, id = arguments[0]
         if (!results) return 'gone'
         if (!(id in results)) return null
         const text = results[id]
         delete results[id]
         return [text, globalThis.__errors?.splice(0) ?? []]`,
        id,
      )) as 'gone' | null | [string, string[]]
      if (answer === 'gone') throw new Error('The page has been left.')
      if (answer) {
        context.report(answer[1])
        const { value, error } = JSON.parse(answer[0], (_, v) => (v?.__undefined ? undefined : v))
        if (error) throw Object.assign(new Error(error.message), { name: error.name })
        return value
      }
      await delay(pause)
    }
  }

  const press = (...values: string[]) =>
    command('POST', '/actions', {
      actions: [
        {
          type: 'key',
          id: 'keyboard',
          actions: values.flatMap((value) => [
            { type: 'keyDown', value },
            { type: 'keyUp', value },
          ]),
        },
      ],
    })

  function locator(steps: Step[]) {
    const all = () => run(`return (${select})(arguments[0])`, steps) as Promise<Record<string, string>[]>
    const one = async () => {
      let found: Record<string, string>[] = []
      await eventually(async () => {
        found = await all()
        return found.length > 0
      })
      return `/element/${found[0]?.[elementKey]}`
    }
    return {
      click: async () => command('POST', `${await one()}/click`),
      async fill(text: string) {
        const element = await one()
        // An answer of the server may be about to show the field. Playwright waits for that too.
        await eventually(() =>
          command('POST', `${element}/clear`).then(
            () => true,
            (error: Error) => {
              if (error.message.includes('element not interactable')) return false
              throw error
            },
          ),
        )
        if (text) await command('POST', `${element}/value`, { text })
      },
      textContent: async () =>
        (await run(`return (${select})(arguments[0])[0]?.textContent ?? null`, steps)) as string,
      allTextContents: () => run(`return (${select})(arguments[0]).map((e) => e.textContent)`, steps),
      count: async () => (await all()).length,
      isVisible: () => run(`return (${select})(arguments[0])[0]?.checkVisibility() ?? false`, steps),
      locator: (css: string, filter: Filter = {}) => locator([...steps, { css, ...filter }]),
      getByRole: (role: string, filter: Filter = {}) =>
        locator([...steps, { css: roles[role] ?? role, ...filter, visible: true }]),
    }
  }

  const page = {
    command,
    evaluate,
    /** Runs after the load, because WebDriver has nothing earlier. That is enough if a test imports the client itself. */
    async addInitScript(script: unknown) {
      inits.push(typeof script === 'function' ? `(${script})()` : String(script))
    },
    async goto(url: string) {
      context.visit(url)
      await command('POST', '/url', { url })
      await prepare()
    },
    async reload() {
      await command('POST', '/refresh')
      await prepare()
    },
    goBack: () => command('POST', '/back'),
    close: () => command('DELETE', '/window'),
    async screenshot() {
      return Buffer.from(String(await command('GET', '/screenshot')), 'base64')
    },
    setViewportSize: (size: { width: number; height: number }) => command('POST', '/window/rect', size),
    keyboard: {
      press: (key: string) => press(keys[key] ?? key),
      type: (text: string) => press(...text),
    },
    textContent: (css: string) => locator([{ css }]).textContent(),
    locator: (css: string, filter: Filter = {}) => locator([{ css, ...filter }]),
    getByLabel: (label: string, { exact = false } = {}) => locator([{ label, exact }]),
    getByRole: (role: string, filter: Filter = {}) =>
      locator([{ css: roles[role] ?? role, ...filter, visible: true }]),
  }
  return page as typeof page & Pick<Page, never>
}

interface Filter {
  name?: string
  exact?: boolean
  hasText?: string
  hasNotText?: string
}
interface Step extends Filter {
  css?: string
  label?: string
  visible?: boolean
}

const roles: Record<string, string> = { alert: '[role=alert]' }

/** Runs in the page. Returns the elements of a locator. */
function select(steps: Step[]): Element[] {
  const says = (text: string | null, part: string, exact?: boolean) =>
    exact ? text?.trim() === part : Boolean(text?.toLowerCase().includes(part.toLowerCase()))
  let found: (Element | Document)[] = [document]
  for (const { css, label, visible, name, exact, hasText, hasNotText } of steps) {
    const inside = found.flatMap((root) => [...root.querySelectorAll(css ?? 'label')])
    found = inside
      .filter((element) => label === undefined || says(element.textContent, label, exact))
      .map((element) => (label === undefined ? element : ((element as HTMLLabelElement).control ?? element)))
      .filter((element) => !visible || element.checkVisibility())
      .filter(
        (element) =>
          name === undefined || says(element.getAttribute('aria-label') ?? element.textContent, name, exact),
      )
      .filter((element) => hasText === undefined || says(element.textContent, hasText))
      .filter((element) => hasNotText === undefined || !says(element.textContent, hasNotText))
  }
  return found as Element[]
}

function watchErrors(): void {
  const errors: string[] = []
  Reflect.set(globalThis, '__errors', errors)
  addEventListener('error', (event) => errors.push(String(event.error ?? event.message)))
  addEventListener('unhandledrejection', (event) => errors.push(String(event.reason)))
}
