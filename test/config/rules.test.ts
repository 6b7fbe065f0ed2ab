import { describe, expect, test } from '@jest/globals'
import { loadConfig } from '../../src/config/config.ts'
import { base, type Environment, faultsOf, file } from './loading.ts'

const faultsIn = (NODE_ENV: string | undefined, env: Environment) => faultsOf({ ...base, NODE_ENV, ...env })

const noDatabase = { DATA_DIR: undefined }
const noUrl = { PUBLIC_URL: undefined }

test.each<[environment: string | undefined, env: Environment, faults: string[]]>([
  ['production', noUrl, ['PUBLIC_URL']],
  [undefined, noUrl, ['PUBLIC_URL']],
  ['development', noUrl, []],
  ['test', noUrl, []],
  ['production', noDatabase, ['DATABASE_URL']],
  [undefined, { DATA_DIR: '' }, ['DATABASE_URL']],
  ['production', { DATA_DIR: 'memory://' }, []],
  ['production', { ...noDatabase, DATABASE_URL: 'postgres://db/auth' }, []],
  ['production', { ...noDatabase, DATABASE_URL_FILE: file('database-url', 'postgres://db/auth') }, []],
  ['development', noDatabase, []],
  ['test', noDatabase, []],
  ['production', { REGISTRATION: 'verified' }, ['REGISTRATION']],
  ['production', { REGISTRATION: 'closed' }, []],
  ['development', { REGISTRATION: 'verified' }, []],
  ['test', { REGISTRATION: 'verified' }, []],
  ['test', { REGISTRATION: 'invited' }, ['REGISTRATION']],
  ['production', { CORS_ORIGINS: 'http://app.example.com' }, ['CORS_ORIGINS']],
  ['production', { CORS_ORIGINS: 'https://app.example.com,http://10.0.0.1:5173' }, ['CORS_ORIGINS']],
  ['production', { CORS_ORIGINS: 'http://localhost.example.com' }, ['CORS_ORIGINS']],
  [
    'production',
    { CORS_ORIGINS: 'https://a.example,http://localhost:1,http://127.0.0.1,http://[::1]:1' },
    [],
  ],
  ['development', { CORS_ORIGINS: 'http://app.example.com' }, []],
  ['production', { NODE_TLS_REJECT_UNAUTHORIZED: '0' }, ['NODE_TLS_REJECT_UNAUTHORIZED']],
  ['production', { NODE_TLS_REJECT_UNAUTHORIZED: '1' }, []],
  ['production', { NODE_TLS_REJECT_UNAUTHORIZED: '' }, []],
  ['development', { NODE_TLS_REJECT_UNAUTHORIZED: '0' }, []],
  ['test', { BCRYPT_COST: '4' }, []],
  ['test', { BCRYPT_COST: '9' }, []],
  ['test', { BCRYPT_COST: '3' }, ['BCRYPT_COST']],
  ['development', { BCRYPT_COST: '4' }, ['BCRYPT_COST']],
  ['development', { BCRYPT_COST: '9' }, ['BCRYPT_COST']],
  ['production', { BCRYPT_COST: '9' }, ['BCRYPT_COST']],
  ['development', { BCRYPT_COST: '10' }, []],
  ['test', { FRESH_SECONDS: '1' }, []],
  ['test', { FRESH_SECONDS: '0' }, ['FRESH_SECONDS']],
  ['development', { FRESH_SECONDS: '59' }, ['FRESH_SECONDS']],
  ['production', { FRESH_SECONDS: '59' }, ['FRESH_SECONDS']],
])('in %s, %j has these faults: %j', async (environment, env, faults) => {
  expect(await faultsIn(environment, env)).toEqual(faults)
})

test.each([
  ['production', 'http://vault.example.com:8200', ['VAULT_ADDR']],
  ['production', 'https://vault.example.com:8200', []],
  ['production', 'http://127.0.0.1:8200', []],
  ['development', 'http://vault.example.com:8200', []],
])('in %s, VAULT_ADDR=%s has these faults: %j [E5]', async (environment, VAULT_ADDR, faults) => {
  expect(await faultsIn(environment, { VAULT_ADDR })).toEqual(faults)
})

test.each([
  [{ SESSION_IDLE_SECONDS: '60', SESSION_ABSOLUTE_SECONDS: '60' }, []],
  [{ SESSION_IDLE_SECONDS: '61', SESSION_ABSOLUTE_SECONDS: '60' }, ['SESSION_IDLE_SECONDS']],
  [{ SESSION_ABSOLUTE_SECONDS: '60' }, ['SESSION_IDLE_SECONDS']],
])('the idle timeout is at most the absolute timeout: %j [B4]', async (env, faults) => {
  expect(await faultsIn('production', env)).toEqual(faults)
})

describe('secure cookies', () => {
  test.each(['https://auth.example.com', 'https://localhost.example.com'])(
    'are required in production with PUBLIC_URL=%s [C1]',
    async (PUBLIC_URL) => {
      expect(await faultsIn('production', { PUBLIC_URL, COOKIE_SECURE: 'false' })).toEqual(['COOKIE_SECURE'])
    },
  )

  test.each([
    ['production', 'http://localhost:3000'],
    ['production', 'http://127.0.0.1:3000'],
    ['production', 'https://localhost'],
    ['development', 'https://auth.example.com'],
    ['test', undefined],
  ])('can be switched off in %s with PUBLIC_URL=%s [C1]', async (NODE_ENV, PUBLIC_URL) => {
    const { http } = await loadConfig({ ...base, NODE_ENV, PUBLIC_URL, COOKIE_SECURE: 'false' })

    expect(http.secureCookies).toBe(false)
  })

  test.each([
    ['production', 'https://auth.example.com', true],
    ['production', 'http://localhost:3000', true],
    ['development', 'https://auth.example.com', true],
    ['test', 'https://auth.example.com:8443', true],
    ['development', 'https://localhost', true],
    ['development', 'http://localhost:3000', false],
    ['development', undefined, false],
  ])('by default, in %s with PUBLIC_URL=%s: %s [C1]', async (NODE_ENV, PUBLIC_URL, secure) => {
    expect((await loadConfig({ ...base, NODE_ENV, PUBLIC_URL })).http.secureCookies).toBe(secure)
  })
})
