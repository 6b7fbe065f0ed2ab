// The browser of the suites: TEST_BROWSER, or Chromium by default. See docs/CONTRIBUTING.md.
import { existsSync } from 'node:fs'
import { type Browser, chromium, firefox } from 'playwright-core'
import { launchWebKit } from './webkit.ts'

const engines = {
  chromium: {
    path: process.env.TEST_CHROMIUM ?? '',
    launch: (executablePath: string) =>
      chromium.launch({
        executablePath,
        args: ['--no-sandbox', '--host-resolver-rules=MAP *.test 127.0.0.1'],
        ignoreDefaultArgs: ['--disable-back-forward-cache'],
      }),
  },
  firefox: {
    path: process.env.TEST_FIREFOX ?? '/usr/bin/firefox-esr',
    // An unpatched Firefox of Mozilla or Debian, driven by WebDriver BiDi.
    launch: (executablePath: string) =>
      firefox.launch({
        executablePath,
        channel: 'moz-firefox',
        firefoxUserPrefs: { 'network.dns.localDomains': 'prizes.test,app.test,elsewhere.test' },
      }),
  },
  webkit: { path: process.env.TEST_WEBKIT ?? miniBrowser(), launch: launchWebKit },
}

function miniBrowser(): string {
  return (
    ['x86_64', 'aarch64']
      .map((cpu) => `/usr/lib/${cpu}-linux-gnu/webkit2gtk-4.1/MiniBrowser`)
      .find((path) => existsSync(path)) ?? ''
  )
}

export type Engine = keyof typeof engines

export const engine = (process.env.TEST_BROWSER ?? 'chromium') as Engine
if (!(engine in engines))
  throw new Error(`TEST_BROWSER is ${engine}. Set one of: ${Object.keys(engines).join(', ')}.`)
const { path, launch } = engines[engine]

/** Whether the browser keeps Secure cookies on http://localhost. */
export const keepsSecureCookies = engine !== 'webkit'

/** Whether the browser is on this machine. */
export const present = existsSync(path)

export const launchBrowser = (): Promise<Browser> => launch(path)
