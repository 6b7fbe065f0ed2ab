import { expect, test } from '@jest/globals'
import { loadConfig } from '../../src/config/config.ts'
import { ownOriginRule, ownOrigins } from '../../src/config/origins.ts'
import { base, faultsOf } from './loading.ts'

test.each([
  ['https://auth.example.com', ['https://auth.example.com']],
  ['http://localhost:3000', ['http://localhost:3000', 'http://127.0.0.1:3000', 'http://[::1]:3000']],
  ['http://127.0.0.1', ['http://localhost', 'http://127.0.0.1', 'http://[::1]']],
])('the own origins of %s are %j [C3]', (url, expected) => {
  expect(ownOrigins(url)).toEqual(expected)
})

const ofLocalNetwork = [
  'http://auth.localhost:3000',
  'http://a.b.localhost:3000',
  'http://adas-mac.local:3000',
  'http://127.0.0.2:3000',
  'http://10.1.2.3:3000',
  'http://172.16.0.1:3000',
  'http://172.31.255.255:3000',
  'http://192.168.178.20:3000',
  'http://169.254.1.1:3000',
  'http://[fe80::1]:3000',
  'http://[fd00::1]:3000',
]
const ofElsewhere = [
  'http://192.168.178.20:3001',
  'http://192.168.178.20',
  'https://192.168.178.20:3000',
  'http://172.32.0.1:3000',
  'http://192.169.0.1:3000',
  'http://100.64.0.1:3000',
  'http://203.0.113.1:3000',
  'http://[2001:db8::1]:3000',
  'http://192.168.178.20.example.com:3000',
  'http://localhost.example.com:3000',
  'http://evillocalhost:3000',
  'http://mylocal:3000',
  'http://user@192.168.178.20:3000',
  'http://192.168.178.20:3000/',
  'http://LOCALHOST:3000',
  'null',
  '',
]

test.each(ofLocalNetwork)('only development treats %s as its own origin [C3]', (origin) => {
  expect(ownOriginRule('http://localhost:3000', true)(origin)).toBe(true)
  expect(ownOriginRule('http://localhost:3000', false)(origin)).toBe(false)
})

test.each(ofElsewhere)('development does not treat %j as its own origin [C3]', (origin) => {
  expect(ownOriginRule('http://localhost:3000', true)(origin)).toBe(false)
})

test.each(ofLocalNetwork)('PUBLIC_URL may be %s in development only', async (PUBLIC_URL) => {
  const { http } = await loadConfig({ ...base, NODE_ENV: 'development', PUBLIC_URL })

  expect(http).toMatchObject({ publicUrl: PUBLIC_URL, localNetwork: true, secureCookies: false })
  for (const NODE_ENV of ['production', 'test'])
    expect(await faultsOf({ ...base, NODE_ENV, PUBLIC_URL })).toEqual(['PUBLIC_URL'])
})

test.each(['http://auth.example.com', 'http://100.64.0.1', 'http://localhost.example.com'])(
  'PUBLIC_URL must not be %s in development',
  async (PUBLIC_URL) => {
    expect(await faultsOf({ ...base, NODE_ENV: 'development', PUBLIC_URL })).toEqual(['PUBLIC_URL'])
  },
)
