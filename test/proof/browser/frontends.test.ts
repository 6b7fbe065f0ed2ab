// The recipes of docs/frontend.md, built and served by Vite, in a browser.
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { basename, dirname, join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import { newEmail, password } from '../../support/app.ts'
import { installAside } from '../../support/install.ts'
import { type ServerProcess, send, startServer, temporaryFolder } from '../../support/server.ts'
import { eventually, inBrowser } from './browser.ts'
import { launchBrowser } from './engine.ts'
import { createGate, type Gate } from './gate.ts'
import { linkIn } from './mailbox.ts'

/** The versions with which the recipes are tested. */
const packages = {
  '@sveltejs/vite-plugin-svelte': '7.3.1',
  '@vitejs/plugin-vue': '6.0.11',
  axios: '1.21.1',
  react: '19.3.1',
  'react-dom': '19.3.1',
  svelte: '5.57.3',
  vite: '8.3.8',
  vue: '3.5.45',
}
const packageFolder = resolve('node_modules/.frontends')

/** All code blocks of the page that begin with the path of a file. */
const blocks = [
  ...readFileSync('docs/frontend.md', 'utf8').matchAll(/```\w+\n(?:\/\/|<!--) (\S+?)(?: -->)?\n(.*?)```/gs),
].map(([, path = '', code = '']) => ({ path, code }))

const page = (script: string, id = 'app') =>
  `<!doctype html><title>recipe</title><div id="${id}"></div><script type="module">${script}</script>`

/** Pages around the recipes. Those of a framework mount themselves. Tests call the others. */
const pages: Record<string, string> = {
  'react.html': page("import './src/main.tsx'", 'root'),
  'forgot.html': page("import './src/forgot.tsx'", 'root'),
  'vue.html': page("import './src/main-vue.ts'"),
  'svelte.html': page("import './src/main-svelte.ts'"),
  'axios.html': page(
    "import { auth } from './src/auth.ts'; import { api } from './src/api.ts'; Object.assign(window, { auth, api })",
  ),
  'tokens.html': page("import * as tokens from './src/tokens.ts'; Object.assign(window, { tokens })"),
  'interceptors.html': page(
    "import * as tokens from './src/interceptors.ts'; Object.assign(window, { tokens })",
  ),
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

inBrowser('docs/frontend.md', () => {
  let server: ServerProcess
  /** Stands between the pages of `direct` and the server. */
  let gate: Gate
  let browser: Browser
  const servers: ReturnType<typeof spawn>[] = []
  /** The origin of pages that name the server, and of pages whose dev server forwards requests. */
  let direct: string
  let proxied: string

  async function serve(port: number, config: string, env: Record<string, string>): Promise<string> {
    const root = temporaryFolder()
    for (const { path, code } of [
      ...blocks,
      ...Object.entries(pages).map(([path, code]) => ({ path, code })),
    ]) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), code)
    }
    writeFileSync(join(root, 'vite.config.ts'), config)
    writeFileSync(join(root, 'package.json'), '{"type":"module"}')
    for (const path of [
      'dist/client/auth-client.js',
      'dist/client/auth-client.d.ts',
      'dist/client/account.js',
      'dist/client/account.d.ts',
      'src/client/messages.ts',
    ])
      cpSync(path, join(root, 'src', basename(path)))
    symlinkSync(join(packageFolder, 'node_modules'), join(root, 'node_modules'))
    const vite = spawn(
      process.execPath,
      [
        join(packageFolder, 'node_modules/vite/bin/vite.js'),
        '--port',
        String(port),
        '--strictPort',
        '--host',
        'localhost',
      ],
      { cwd: root, env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'ignore', 'inherit'] },
    )
    servers.push(vite)
    const url = `http://localhost:${port}`
    await eventually(
      () =>
        fetch(url).then(
          () => true,
          () => false,
        ),
      60_000,
    )
    return url
  }

  // Each configuration has its own cache, because both share `node_modules`.
  const more = "oxc: { jsx: { runtime: 'automatic' } }, cacheDir: '.vite',"
  const plugins = `
    import { svelte } from '@sveltejs/vite-plugin-svelte'
    import vue from '@vitejs/plugin-vue'
    export default { plugins: [vue(), svelte()], ${more} }`

  beforeAll(async () => {
    installAside(packageFolder, packages)
    const ports = [await freePort(), await freePort()] as const
    const origins = ports.map((port) => `http://localhost:${port}`)
    server = await startServer({
      CORS_ORIGINS: origins.join(),
      ACCESS_TOKEN_SECONDS: '3',
      ACCOUNT_URL: `${origins[0]}/forgot.html`,
      DEMO: 'true', // for the mailbox
    })
    gate = await createGate(() => server.url)
    direct = await serve(ports[0], plugins, { VITE_AUTH_URL: gate.url })
    const proxy = blocks.find(({ path }) => path === 'vite.config.ts')?.code ?? ''
    proxied = await serve(
      ports[1],
      proxy.replace('http://localhost:3000', server.url).replace('server:', `${more} server:`),
      {},
    )
    browser = await launchBrowser()
  })
  afterAll(async () => {
    await browser?.close()
    for (const vite of servers) vite.kill()
    gate?.close()
    await server?.end('SIGTERM')
  })

  async function register(): Promise<string> {
    const email = newEmail()
    const { status } = await fetch(`${server.url}/auth/register`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ email, password }),
    })
    expect(status).toBe(201)
    return email
  }

  const says = (page: Page, text: string) =>
    eventually(async () => Boolean((await page.textContent('div'))?.includes(text)))

  test.each([
    ['React', () => `${direct}/react.html`],
    ['Vue', () => `${direct}/vue.html`],
    ['Svelte', () => `${direct}/svelte.html`],
    ['React behind the proxy of Vite', () => `${proxied}/react.html`],
  ])('%s: login, reload, a second tab and logout work', async (_what, url) => {
    const email = await register()
    const context = await browser.newContext()
    const page = await context.newPage()
    await page.goto(url())
    const form = page.locator('form')
    await form.locator('[name=email]').fill(email)
    await form.locator('[name=password]').fill('wrong password')
    await form.getByRole('button', { name: 'Log in' }).click()
    await says(page, 'The e-mail address or the password is wrong.')
    await form.locator('[name=password]').fill(password)
    await form.getByRole('button', { name: 'Log in' }).click()
    await says(page, email)

    await page.reload()
    await says(page, email)
    const other = await context.newPage()
    await other.goto(url())
    await says(other, email)
    await other.getByRole('button', { name: 'Log out' }).click()

    await eventually(async () => (await page.locator('form').count()) === 1)
    await page.reload()
    await eventually(async () => (await page.locator('form').count()) === 1)
    await context.close()
  })

  test.each(['react', 'vue', 'svelte'])(
    '%s: registration shows messages at their fields, and the page says why a login has ended',
    async (framework) => {
      const email = newEmail()
      const context = await browser.newContext()
      const page = await context.newPage()
      await page.goto(`${direct}/${framework}.html`)
      const form = page.locator('form')
      await form.locator('[name=email]').fill(email)
      await form.locator('[name=password]').fill('too short')
      await form.getByRole('button', { name: 'Create an account' }).click()
      await eventually(
        async () =>
          (await page.textContent('#password-problem'))?.trim() ===
          'The password must have 15 characters or more.',
      )
      expect(
        await page.evaluate(() =>
          [...document.querySelectorAll('input')].map(({ labels, ariaInvalid }) => [
            labels?.item(0)?.textContent?.trim(),
            ariaInvalid,
          ]),
        ),
      ).toEqual([
        ['E-mail address', 'false'],
        ['Password, 15 characters or more', 'true'],
      ])
      await form.locator('[name=password]').fill(password)
      await form.getByRole('button', { name: 'Create an account' }).click()
      await says(page, email)

      const { accessToken } = await (
        await fetch(`${server.url}/auth/login`, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json' },
          body: JSON.stringify({ email, password }),
        })
      ).json()
      await fetch(`${server.url}/auth/logout-all`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${accessToken}` },
      })
      await page.reload()
      await says(page, 'Your login has ended. Log in again.')
      await context.close()
    },
  )

  test.each(['react', 'vue', 'svelte'])(
    '%s: the page says that there is an outage, and continues by itself afterwards',
    async (framework) => {
      const context = await browser.newContext()
      const page = await context.newPage()
      gate.shut()
      await page.goto(`${direct}/${framework}.html`)
      await says(page, 'The server cannot be reached. Check your internet connection and try again.')
      expect(await page.locator('form').count()).toBe(0)
      gate.open()

      await eventually(async () => (await page.locator('form').count()) === 1)
      await context.close()
    },
  )

  test('React: a forgotten password is set by the link of the mail, whose token leaves the address bar at once', async () => {
    const email = await register()
    const newPassword = 'a bus full of violins'
    const context = await browser.newContext()
    const page = await context.newPage()
    await page.goto(`${direct}/forgot.html`)
    await page.locator('[name=email]').fill(email)
    await page.getByRole('button', { name: 'Send me a link' }).click()
    await says(page, 'If there is an account with this address, a mail is on its way.')
    const link = await linkIn(server, email, 'reset')

    await page.goto('about:blank')
    await page.goto(link)
    const field = page.locator('[name=newPassword]')
    await field.fill('short')
    const href = await page.evaluate(() => location.href)
    await page.getByRole('button', { name: 'Set the password' }).click()
    await says(page, 'The new password must have 15 characters or more.')
    await field.fill(newPassword)
    await page.getByRole('button', { name: 'Set the password' }).click()
    await says(page, 'Your password is changed. Log in with the new one.')
    const body = { email, password: newPassword }

    expect(href).toBe(`${direct}/forgot.html`)
    expect((await send('POST', `${server.url}/auth/login`, { body })).status).toBe(200)
    await context.close()
  })

  test('axios with the fetch of the client sends and renews the token, and rejects with an AxiosError', async () => {
    const email = await register()
    const page = await (await browser.newContext()).newPage()
    await page.goto(`${direct}/axios.html`)
    await eventually(() => page.evaluate(() => 'api' in window))

    const seen = await page.evaluate(
      async ([email, password]) => {
        const { auth, api } = window as unknown as {
          auth: import('../../../src/client/auth-client.ts').AuthClient
          api: { get(path: string): Promise<{ data: { email: string } }> }
        }
        await auth.login(String(email), String(password))
        const first = (await api.get('/users/me')).data.email
        await new Promise((resolve) => setTimeout(resolve, 3_500))
        const later = (await api.get('/users/me')).data.email
        await auth.logout()
        const refused = await api.get('/users/me').catch((error) => [error.name, error.response.data.code])
        return [first, later, refused]
      },
      [email, password],
    )

    expect(seen).toEqual([email, email, ['AxiosError', 'access_token_missing']])
  })

  test.each([
    ['fetch', 'tokens.html', 'authFetch'],
    ['axios with interceptors', 'interceptors.html', 'api'],
  ])(
    'without the client, %s: ten requests with an expired token cause one refresh',
    async (_what, file, name) => {
      const email = await register()
      const context = await browser.newContext()
      const page = await context.newPage()
      let refreshes = 0
      page.on('request', (request) => {
        if (request.method() === 'POST' && request.url().endsWith('/auth/refresh')) refreshes++
      })
      await page.goto(`${direct}/${file}`)
      await eventually(() => page.evaluate(() => 'tokens' in window))

      const emails = await page.evaluate(
        async ([server, email, password, name]) => {
          await fetch(`${server}/auth/login`, {
            method: 'POST',
            credentials: 'include',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({ email, password }),
          })
          const tokens = Reflect.get(window, 'tokens')
          const get = async (): Promise<string> =>
            name === 'api'
              ? (await tokens.api.get('/users/me')).data.email
              : (await (await tokens.authFetch('/users/me')).json()).email
          await tokens.refresh()
          await new Promise((resolve) => setTimeout(resolve, 3_500))
          return Promise.all(Array.from({ length: 10 }, get))
        },
        [server.url, email, password, name],
      )

      expect(emails).toEqual(emails.map(() => email))
      expect(refreshes).toBe(2)
      await context.close()
    },
  )
})
