import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import { loadConfig } from '../../src/config/config.ts'
import { expectProblem, send, useTestApp } from '../support/app.ts'
import { refreshCookieName, testEnvironment } from '../support/environment.ts'
import { answerMs } from '../support/time-limits.js'

describe('the page to try the server', () => {
  const t = useTestApp({ DEMO: 'true' })

  test('is at /, with a policy that allows files of this server only', async () => {
    const { text, headers } = await send(t.app, 'GET /').expect(200)

    expect(headers['content-type']).toBe('text/html; charset=utf-8')
    expect(headers['content-security-policy']).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    )
    expect(text).not.toMatch(/<style|style=|<script>| on\w+=/)
    const files = [...text.matchAll(/(?:src|href)="(\/demo\/[^"]+)"/g)].map(([, path]) => path)
    expect(files).toEqual(['/demo/demo.css', '/demo/demo.js'])
  })

  test.each([
    ['demo.css', 'text/css'],
    ['demo.js', 'text/javascript'],
    ['auth-client.js', 'text/javascript'],
    ['browser-name.js', 'text/javascript'],
    ['messages.js', 'text/javascript'],
  ])('is made of %s', async (name, type) => {
    const { text, headers } = await send(t.app, `GET /demo/${name}`).expect(200)

    expect(headers['content-type']).toBe(`${type}; charset=utf-8`)
    expect(text).toBe(readFileSync(`dist/client/${name}`, 'utf8'))
  })

  const cookie = `${refreshCookieName}=eyJ`
  test.each([
    ['none', 'no cookie', { 'Sec-Fetch-Site': 'none' }],
    ['none', 'cookies of other names', { 'Sec-Fetch-Site': 'same-origin', Cookie: 'a=1; refresh=2' }],
    ['unknown', 'a refresh cookie', { 'Sec-Fetch-Site': 'none', Cookie: cookie }],
    ['unknown', 'two of them', { 'Sec-Fetch-Site': 'same-site', Cookie: `${cookie}; ${cookie}` }],
    ['unknown', 'a visit from another site, where browsers hold it back', { 'Sec-Fetch-Site': 'cross-site' }],
    ['unknown', 'a browser that does not say where a visit comes from', {}],
  ])('tells the page that the login is %s, by %s', async (login, _what, headers) => {
    const { text, headers: answered } = await send(t.app, 'GET /').set(headers).expect(200)

    expect(text).toContain(`<html lang="en" data-login="${login}">`)
    expect(answered['cache-control']).toBe('no-store')
  })

  test.each(['demo.html', 'demo.d.ts', '..%2f..%2fpackage.json', '__proto__'])(
    'is not made of %s',
    async (name) => {
      expectProblem(await send(t.app, `GET /demo/${name}`), 404, 'not_found')
    },
  )

  test('can be read only', async () => {
    expectProblem(await send(t.app, 'POST /'), 405, 'method_not_allowed')
  })
})

describe('elsewhere than in development', () => {
  const t = useTestApp()

  test.each(['/', '/demo/demo.js'])('%s is 404', async (path) => {
    expectProblem(await send(t.app, `GET ${path}`), 404, 'not_found')
  })

  test.each([
    ['development', undefined, true],
    ['development', 'false', false],
    ['production', undefined, false],
    ['production', 'true', true],
  ])('NODE_ENV=%s, DEMO=%s: %s', async (environment, DEMO, served) => {
    const { http } = await loadConfig({
      ...testEnvironment,
      NODE_ENV: environment,
      BCRYPT_COST: '12',
      ...(DEMO && { DEMO }),
    })

    expect(http.demo).toBe(served)
  })
})

describe('the client', () => {
  const built = readFileSync('dist/client/auth-client.js')

  test('is under 4 KB gzipped, and needs nothing else', () => {
    const bytes = gzipSync(built, { level: 9 }).length
    process.stderr.write(`the browser client: ${bytes} bytes gzipped\n`)

    expect(bytes).toBeLessThan(4_000)
    expect(built.toString()).not.toMatch(/\bimport\b/)
  })

  test('keeps no process running, on a server that renders pages', () => {
    const code = `
      const { createAuthClient } = await import('express-auth-server/client')
      console.log(createAuthClient({ url: 'https://auth.example.com' }).user())`

    const printed = execFileSync(process.execPath, ['--input-type=module', '-e', code], {
      encoding: 'utf8',
      timeout: answerMs,
    })

    expect(printed.trim()).toBe('undefined')
  })

  test('can be imported as express-auth-server/client, with its types', () => {
    const exported = execFileSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        "console.log(...Object.keys(await import('express-auth-server/client')))",
      ],
      { encoding: 'utf8' },
    )

    expect(exported.trim()).toBe('AuthClientError createAuthClient')
    const texts =
      "const { messages } = await import('express-auth-server/client/messages'); console.log(messages.overtaken)"
    expect(
      execFileSync(process.execPath, ['--input-type=module', '-e', texts], { encoding: 'utf8' }),
    ).toMatch(/^You logged in/)
    const types = readFileSync('dist/client/auth-client.d.ts', 'utf8')
    expect(types).toMatch(/export declare function createAuthClient\(options: AuthClientOptions\)/)
    for (const name of 'register login changePassword logout logoutAll refresh fetch user onChange close'.split(
      ' ',
    ))
      expect(types).toMatch(new RegExp(`^ +${name}[:(]`, 'm'))
  })
})
