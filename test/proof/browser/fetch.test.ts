// The client's fetch: where the token goes, when it is refreshed, and that everything else is as in plain fetch.
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type { Page } from 'playwright-core'
import {
  boot,
  emailOf,
  engine,
  eventually,
  inBrowser,
  logIn,
  me,
  newUser,
  openLoggedIn,
  openTab,
  passLifetime,
  useStage,
} from './browser.ts'

inBrowser('fetch', () => {
  const stage = useStage()
  /** The requests that another API has received, and the codes of its first answers. */
  let seen: {
    host: string | undefined
    method: string | undefined
    authorization: string | undefined
    body: string
  }[] = []
  let refusals: string[] = []
  let api: Server
  let apiUrl: string
  let tab: Page
  let email: string

  beforeAll(async () => {
    api = createServer(async (req, res) => {
      res.setHeader('Access-Control-Allow-Origin', '*')
      if (req.method === 'OPTIONS')
        return void res
          .setHeader('Access-Control-Allow-Headers', 'authorization, content-type')
          .setHeader('Access-Control-Allow-Methods', 'DELETE')
          .end()
      let body = ''
      req.setEncoding('utf8').on('data', (text) => {
        body += text
      })
      await once(req, 'end')
      const { host, authorization } = req.headers
      seen.push({ host, method: req.method, authorization, body })
      const [path, target] = req.url?.split('?') ?? []
      if (path === '/redirect') return void res.writeHead(307, { Location: target }).end()
      const code = refusals.shift()
      res.statusCode = code ? 401 : 200
      res.setHeader('Content-Type', code ? 'application/problem+json' : 'text/plain')
      if (code) return void res.end(JSON.stringify({ code }))
      res.write('first ')
      setTimeout(() => res.end('last'), req.url === '/slow' ? 2_000 : 20)
    }).listen(0, '127.0.0.1')
    await once(api, 'listening')
    apiUrl = `http://localhost:${(api.address() as AddressInfo).port}`
  })
  afterAll(() => {
    api?.close()
    api?.closeAllConnections()
  })
  beforeEach(async () => {
    email = await newUser(stage)
    tab = await openTab(stage)
    await tab.evaluate(async (api) => {
      const { createAuthClient } = await import('/auth-client.js' as string)
      globalThis.auth.close()
      globalThis.auth = createAuthClient({ url: globalThis.api, origins: [api] })
    }, apiUrl)
    await logIn(tab, email)
    seen = []
    refusals = []
  })

  test('the token goes to the server and to listed origins only', async () => {
    await tab.evaluate(
      async (urls) => {
        for (const url of urls) await globalThis.auth.fetch(url)
      },
      [`${apiUrl}/listed`, `${strangeUrl()}/strange`],
    )

    expect(seen.map(({ authorization }) => authorization)).toEqual([
      expect.stringMatching(/^Bearer ey/),
      undefined,
    ])
    expect(await me(tab)).toEqual({ status: 200, email })
  })

  /** Where a request would go if the page could send the token to another origin. */
  const strangeUrl = () => apiUrl.replace('localhost', '127.0.0.1')

  test('relative URLs are relative to the server, whatever page and base the document has', async () => {
    const before = stage.gate.count('/users/me')

    const emails = await tab.evaluate(async (strange) => {
      const emailOf = async (url: string) => (await (await globalThis.auth.fetch(url)).json()).email
      const emails = [await emailOf('/users/me'), await emailOf('users/me?a=1')]
      const base = document.createElement('base')
      base.href = `${strange}/`
      document.head.append(base)
      emails.push(await emailOf('/users/me'), await emailOf('users/me'))
      return emails
    }, strangeUrl())

    expect(emails).toEqual([email, email, email, email])
    expect(stage.gate.count('/users/me') - before).toBe(4)
    expect(seen).toEqual([])
  })

  test.each([
    ['an injected base', 'users/me'],
    ['a changed URL object', '/users/me'],
    ['changed options', '/users/me'],
  ])('%s cannot redirect the token while the request waits for it', async (what, path) => {
    await passLifetime(tab)
    stage.gate.refreshes.length = 0
    stage.gate.play('/auth/refresh', 600, 1)
    const before = stage.gate.count('/users/me')

    const asked = tab.evaluate(
      async ([what, path, strange]) => {
        const url = new URL(String(path), globalThis.api)
        const options: RequestInit = { headers: new Headers({ Accept: 'application/json' }) }
        const input = what?.includes('URL') ? url : String(path)
        const answer = globalThis.auth.fetch(input, options)
        const base = document.createElement('base')
        base.href = `${strange}/`
        document.head.append(base)
        url.href = String(strange)
        Object.assign(options, { method: 'POST', headers: { Authorization: 'Basic eA==' }, body: 'a=1' })
        return (await (await answer).json()).email
      },
      [what, path, strangeUrl()],
    )

    expect(await asked).toBe(email)
    expect(stage.gate.refreshes).toHaveLength(1)
    expect(stage.gate.count('/users/me') - before).toBe(1)
    expect(seen).toEqual([])
  })

  test('an object that looks like a Request, or reads differently each time, is sent as it was checked', async () => {
    await tab.evaluate(
      async ([listed, strange]) => {
        let reads = 0
        const fickle = { toString: () => (reads++ ? strange : listed) }
        const pretended = { url: listed, toString: () => strange }
        for (const input of [fickle, pretended]) await globalThis.auth.fetch(input as unknown as URL)
      },
      [apiUrl, strangeUrl()],
    )

    expect(seen.map(({ host, authorization }) => [host, authorization?.slice(0, 9)])).toEqual([
      [new URL(apiUrl).host, 'Bearer ey'],
      [new URL(strangeUrl()).host, undefined],
    ])
  })

  test('a redirect to another origin does not take the token there', async () => {
    const answered = await tab.evaluate(
      ([listed, strange]) =>
        globalThis.auth.fetch(`${listed}/redirect?${strange}`).then(
          ({ ok }) => ok,
          () => false,
        ),
      [apiUrl, strangeUrl()],
    )

    expect(seen[0]).toMatchObject({
      host: new URL(apiUrl).host,
      authorization: expect.stringMatching(/^Bearer ey/),
    })
    expect(seen.slice(1).map(({ authorization }) => authorization)).toEqual(answered ? [undefined] : [])
  })

  test('a Request of another window counts as a Request', async () => {
    await tab.evaluate(async (url) => {
      const frame = document.createElement('iframe')
      document.body.append(frame)
      const request: Request = Reflect.construct(Reflect.get(Object(frame.contentWindow), 'Request'), [
        url,
        { method: 'POST', body: 'a=1' },
      ])
      await globalThis.auth.fetch(request)
    }, apiUrl)

    expect(seen).toMatchObject([
      { method: 'POST', authorization: expect.stringMatching(/^Bearer ey/), body: 'a=1' },
    ])
  })

  test('an Authorization header that the page sets is not changed', async () => {
    await tab.evaluate(
      (url) => globalThis.auth.fetch(url, { headers: { Authorization: 'Basic eA==' } }).then(() => {}),
      apiUrl,
    )

    expect(seen).toMatchObject([{ method: 'GET', authorization: 'Basic eA==', body: '' }])
  })

  test.each(['access_token_expired', 'access_token_invalid'])(
    'after a 401 %s it refreshes, and sends the request again',
    async (code) => {
      refusals = [code]
      const before = stage.gate.count('/auth/refresh')

      const status = await tab.evaluate(
        (url) => globalThis.auth.fetch(url, { method: 'POST', body: 'text' }).then(({ status }) => status),
        apiUrl,
      )

      expect(status).toBe(200)
      expect(seen.map(({ method, body }) => [method, body])).toEqual([
        ['POST', 'text'],
        ['POST', 'text'],
      ])
      expect(seen[0]?.authorization).not.toBe(seen[1]?.authorization)
      expect(stage.gate.count('/auth/refresh') - before).toBe(1)
    },
  )

  test('after a second 401 it returns that answer', async () => {
    refusals = ['access_token_expired', 'access_token_expired', 'access_token_expired']
    const before = stage.gate.count('/auth/refresh')

    const status = await tab.evaluate(
      (url) => globalThis.auth.fetch(url).then(({ status }) => status),
      apiUrl,
    )

    expect(status).toBe(401)
    expect(seen).toHaveLength(2)
    expect(stage.gate.count('/auth/refresh') - before).toBe(1)
    expect(await emailOf(tab)).toBe(email)
  })

  test('a 401 that no new token can fix is returned without a refresh', async () => {
    refusals = ['wrong_password']
    const before = stage.gate.count('/auth/refresh')

    const answer = await tab.evaluate(
      (url) => globalThis.auth.fetch(url).then(async (answer) => [answer.status, await answer.text()]),
      apiUrl,
    )

    expect(answer).toEqual([401, '{"code":"wrong_password"}'])
    expect([seen.length, stage.gate.count('/auth/refresh') - before]).toEqual([1, 0])
  })

  test.each([
    ['text', () => 'a=1'],
    ['URLSearchParams', () => new URLSearchParams({ a: '1' })],
    ['a Blob', () => new Blob(['a=1'])],
    ['bytes', () => new TextEncoder().encode('a=1')],
    ['FormData', () => Object.assign(new FormData(), {})],
  ])('a body that is %s can be sent again', async (_what, body) => {
    refusals = ['access_token_expired']

    const status = await tab.evaluate(
      ([url, body]) =>
        globalThis.auth
          .fetch(String(url), { method: 'POST', body: new Function(`return (${body})()`)() })
          .then(({ status }) => status),
      [apiUrl, String(body)],
    )

    expect(status).toBe(200)
    // Multipart bodies have a new boundary each time.
    const bodies = seen.map(({ body }) => body.replace(/------\w+/g, ''))
    expect(bodies).toHaveLength(2)
    expect(bodies[0]).toBe(bodies[1])
  })

  test('the body of a Request is sent once only, and the next request has the new token', async () => {
    refusals = ['access_token_expired']

    const statuses = await tab.evaluate(async (url) => {
      const first = await globalThis.auth.fetch(new Request(url, { method: 'POST', body: 'a=1' }))
      const second = await globalThis.auth.fetch(new Request(url, { method: 'POST', body: 'a=1' }))
      return [first.status, second.status]
    }, apiUrl)

    expect(statuses).toEqual([401, 200])
    expect(seen.map(({ body }) => body)).toEqual(['a=1', 'a=1'])
    expect(seen[0]?.authorization).not.toBe(seen[1]?.authorization)
  })

  test('a Request without a body is sent again with its headers and its method', async () => {
    refusals = ['access_token_expired']

    const status = await tab.evaluate(
      (url) =>
        globalThis.auth
          .fetch(new Request(url, { method: 'DELETE', headers: { 'Content-Type': 'text/x' } }))
          .then(({ status }) => status),
      apiUrl,
    )

    expect(status).toBe(200)
    expect(seen.map(({ method }) => method)).toEqual(['DELETE', 'DELETE'])
  })

  test('an answer can be read as a stream', async () => {
    const [first, all] = await tab.evaluate(async (url) => {
      const answer = await globalThis.auth.fetch(`${url}/slow`)
      const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
      const began = performance.now()
      const part = await reader?.read()
      const early = performance.now() - began < 1_000
      const rest = await reader?.read()
      return [early && part?.value, rest?.value]
    }, apiUrl)

    expect([first, all]).toEqual(['first ', 'last'])
  })

  test('a stream as a body is treated as plain fetch treats it', async () => {
    const [plain, ours] = await tab.evaluate(async (url) => {
      const streaming = () =>
        ({ method: 'POST', duplex: 'half', body: new Blob(['a=1']).stream() }) as RequestInit
      return [
        await globalThis.failure(fetch(url, streaming())),
        await globalThis.failure(globalThis.auth.fetch(url, streaming())),
      ]
    }, apiUrl)

    // Chromium streams over HTTP/2 only. Firefox sends "[object ReadableStream]".
    if (engine === 'chromium') expect(plain?.name).toBe('TypeError')
    expect(ours).toEqual(plain)
  })

  test.each([
    ['before the request', 0],
    ['while it waits for a new token', 100],
  ])('an AbortSignal ends a request %s', async (_when, ms) => {
    await passLifetime(tab)
    stage.gate.play('/auth/refresh', 3_000, 1)

    const { failed, took } = await tab.evaluate(
      async ([url, ms]) => {
        const began = performance.now()
        const signal = ms ? AbortSignal.timeout(Number(ms)) : AbortSignal.abort()
        const failed = await globalThis.failure(globalThis.auth.fetch(String(url), { signal }))
        return { failed, took: performance.now() - began }
      },
      [apiUrl, ms],
    )

    expect(failed?.name).toBe(ms ? 'TimeoutError' : 'AbortError')
    expect(took).toBeLessThan(1_000)
    expect(seen).toEqual([])
    // The refresh continues for other requests.
    expect((await boot(tab))?.email).toBe(email)
  })

  test('an AbortSignal ends a request while it waits for a new token after a 401', async () => {
    refusals = ['access_token_expired']
    stage.gate.play('/auth/refresh', 1_500, 1)

    const failed = await tab.evaluate(
      (url) => globalThis.failure(globalThis.auth.fetch(url, { signal: AbortSignal.timeout(300) })),
      apiUrl,
    )

    expect(failed?.name).toBe('TimeoutError')
    expect(seen).toHaveLength(1)
  })

  test('the AbortSignal of a Request ends the answer', async () => {
    const failed = await tab.evaluate(async (url) => {
      const { signal } = Object.assign(globalThis, { control: new AbortController() }).control
      const answer = await globalThis.auth.fetch(new Request(`${url}/slow`, { signal }))
      setTimeout(() => (Reflect.get(globalThis, 'control') as AbortController).abort(), 100)
      return globalThis.failure(answer.text())
    }, apiUrl)

    expect(failed?.name).toBe('AbortError')
  })

  test('an invalid URL and an unreachable server fail as in plain fetch', async () => {
    const failures = await tab.evaluate(async () => [
      await globalThis.failure(globalThis.auth.fetch('http://[')),
      await globalThis.failure(globalThis.auth.fetch('http://localhost:1/')),
    ])

    expect(failures.map((failed) => failed?.name)).toEqual(['TypeError', 'TypeError'])
  })

  test.each(['http://localhost:3000/auth', '/api', 'nothing://'])(
    'the url %s is refused because it is not an origin',
    async (url) => {
      const failed = await tab.evaluate(async (url) => {
        const { createAuthClient } = await import('/auth-client.js' as string)
        try {
          createAuthClient({ url })
          return 'taken'
        } catch (error) {
          return String(error)
        }
      }, url)

      expect(failed).toMatch(/^TypeError: .*is not an origin\. Give scheme, host and port\.$/)
    },
  )

  test('concurrent requests with an expired token cause one refresh', async () => {
    await passLifetime(tab)
    const before = stage.gate.count('/auth/refresh')

    await tab.evaluate(
      (url) => Promise.all(Array.from({ length: 20 }, () => globalThis.auth.fetch(url))).then(() => {}),
      apiUrl,
    )

    expect(stage.gate.count('/auth/refresh') - before).toBe(1)
    expect(new Set(seen.map(({ authorization }) => authorization)).size).toBe(1)
  })

  test('the first request of a page refreshes if the page has not refreshed yet', async () => {
    const later = await openTab(stage)

    expect(await me(later)).toEqual({ status: 200, email })
  })

  test('after close it hears nothing of other tabs, and starts nothing by itself', async () => {
    const other = await openTab(stage)
    await boot(other)
    await other.evaluate(() => globalThis.auth.close())

    await tab.evaluate(() => globalThis.auth.logout())
    await delay(300)

    expect(await emailOf(other)).toBe(email)
    expect(await me(other)).toMatchObject({ status: 401 })
  })
})

inBrowser('tokens that live for three seconds', () => {
  const stage = useStage({ ACCESS_TOKEN_SECONDS: '3' })

  test('are renewed before they expire, or afterwards if a clock that stands still hides their age', async () => {
    const { tab } = await openLoggedIn(stage)
    const answers: number[] = []
    const until = Date.now() + 8_000
    while (Date.now() < until) answers.push((await me(tab)).status)
    const renewed = stage.gate.refreshes.length

    await tab.evaluate(() => {
      const [wall, running] = [Date.now(), performance.now()]
      Date.now = () => wall
      performance.now = () => running
    })
    await eventually(async () => {
      answers.push((await me(tab)).status)
      return stage.gate.refreshes.length > renewed
    })

    expect(new Set(answers)).toEqual(new Set([200]))
    expect(renewed).toBeGreaterThanOrEqual(2)
    expect(renewed).toBeLessThanOrEqual(6)
  })
})
