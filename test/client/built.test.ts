import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import { answerMs } from '../support/time-limits.js'

describe('the built client', () => {
  const built = readFileSync('dist/client/auth-client.js')

  test('is one file under 4 KB gzipped that imports nothing', () => {
    const bytes = gzipSync(built, { level: 9 }).length
    process.stderr.write(`the browser client: ${bytes} bytes gzipped\n`)

    expect(bytes).toBeLessThan(4_000)
    expect(built.toString()).not.toMatch(/\bimport\b/)
  })

  test('keeps no process running on a server that renders pages', () => {
    const code = `
      const { createAuthClient } = await import('express-auth-server/client')
      console.log(createAuthClient({ url: 'https://auth.example.com' }).user())`

    const printed = execFileSync(process.execPath, ['--input-type=module', '-e', code], {
      encoding: 'utf8',
      timeout: answerMs,
    })

    expect(printed.trim()).toBe('undefined')
  })

  test('can be imported as express-auth-server/client', () => {
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
  })

  test('has a module for what happens by mail, under 2 KB gzipped, which shares its class of errors', () => {
    const module = readFileSync('dist/client/account.js')
    const bytes = gzipSync(module, { level: 9 }).length
    process.stderr.write(`the account module: ${bytes} bytes gzipped\n`)
    const imports = /\bfrom ?['"]([^'"]+)['"]/g
    const code = `
      const { createAuthClient, AuthClientError } = await import('express-auth-server/client')
      const { createAccountClient } = await import('express-auth-server/client/account')
      const fetch = async () => Response.json({ code: 'link_invalid' }, { status: 410 })
      const options = { url: 'https://auth.example.com', fetch }
      const account = createAccountClient({ ...options, auth: createAuthClient(options) })
      await account.undo('t').catch((error) => console.log(error instanceof AuthClientError, error.code))`
    const printed = execFileSync(process.execPath, ['--input-type=module', '-e', code], {
      encoding: 'utf8',
      timeout: answerMs,
    })

    expect(bytes).toBeLessThan(2_000)
    expect([...module.toString().matchAll(imports)].map(([, path]) => path)).toEqual(['./auth-client.js'])
    const types = readFileSync('dist/client/account.d.ts', 'utf8')
    expect([...types.matchAll(imports)].map(([, path]) => path)).toEqual(['./auth-client.js'])
    expect(printed.trim()).toBe('true link_invalid')
  })

  test('has its types in one file that imports nothing', () => {
    const types = readFileSync('dist/client/auth-client.d.ts', 'utf8')

    expect(types).not.toMatch(/^import\b|\bfrom '/m)
    expect(types).toMatch(/export declare function createAuthClient\(options: AuthClientOptions\)/)
    expect(types).toMatch(/export declare class AuthClientError extends Error/)
    const methods =
      'register login changePassword reauthenticate logout logoutAll refresh fetch user onChange close'
    for (const name of methods.split(' ')) expect(types).toMatch(new RegExp(`^ +${name}[:(]`, 'm'))
  })
})
