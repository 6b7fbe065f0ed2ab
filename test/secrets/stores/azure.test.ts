import { describe, expect, test } from '@jest/globals'
import { SourceError, type SourceFault } from '../../../src/secrets/source-error.ts'
import { explainAzure, keyVault } from '../../../src/secrets/stores/azure/azure.ts'
import { wrongReference } from '../../../src/secrets/stores/secret-store.ts'
import { depsWith, testMissingSdk } from './sdk.ts'

const place = { host: 'shop.vault.azure.net', secret: 'jwt-access' }
const explained = (error: unknown) => explainAzure(error, place)

/** Makes an error as @azure/core-rest-pipeline and @azure/identity throw it. */
const restError = (statusCode: number | undefined, code: string, message = '', reason?: string) =>
  Object.assign(new Error(message), {
    name: 'RestError',
    statusCode,
    code,
    details: { error: { code, message, innerError: reason && { code: reason } } },
  })
const named = (name: string, message: string, more: object = {}) =>
  Object.assign(new Error(message), { name, ...more })
const unavailable = (message: string, cause?: unknown) =>
  named('CredentialUnavailableError', message, { cause })
const chain = (...errors: Error[]) =>
  named('AggregateAuthenticationError', 'ChainedTokenCredential authentication failed.', { errors })
const others = [
  unavailable('EnvironmentCredential is unavailable. No underlying credential could be used.'),
  unavailable("Azure CLI could not be found. Please visit https://aka.ms/azure-cli, and use 'az login'."),
]

describe('an error of a vault is explained, with what to do', () => {
  test.each<[string, Error, SourceFault, RegExp]>([
    ['a bad name', restError(400, 'BadParameter'), 'malformed', /Correct the name/],
    [
      'a foreign token',
      restError(401, 'Unauthorized', 'AKV10032: Invalid issuer.'),
      'denied',
      /AZURE_TENANT_ID/,
    ],
    [
      'a missing role',
      restError(
        403,
        'Forbidden',
        'Caller is not authorized to perform action on resource.',
        'ForbiddenByRbac',
      ),
      'denied',
      /"Key Vault Secrets User" on jwt-access .*"Key Vault Secrets Officer"/,
    ],
    [
      'a refusal without reason',
      restError(403, 'Forbidden', 'Pagination failed'),
      'denied',
      /role .*firewall/,
    ],
    [
      'a firewall',
      restError(403, 'Forbidden', 'Client address is not authorized and caller is not a trusted service.'),
      'denied',
      /firewall of shop\.vault\.azure\.net refused access\. Grant/,
    ],
    [
      'a vault without public access',
      restError(403, 'Forbidden', 'Public network access is disabled', 'ForbiddenByConnection'),
      'denied',
      /firewall/,
    ],
    [
      'a disabled version',
      restError(403, 'Forbidden', 'Operation get is not allowed.', 'SecretDisabled'),
      'withdrawn',
      /disabled/,
    ],
    [
      'a disabled version, by the text only',
      restError(403, 'Forbidden', 'Operation get is not allowed on a disabled secret.'),
      'withdrawn',
      /disabled/,
    ],
    [
      'a missing secret',
      restError(404, 'SecretNotFound'),
      'absent',
      /Create it: az keyvault secret set --vault-name shop --name jwt-access/,
    ],
    ['a deleted name', restError(409, 'Conflict'), 'conflict', /: az keyvault secret recover \(or purge\) /],
    ['too many calls', restError(429, 'Throttled'), 'unreachable', /429/],
    ['an internal error', restError(500, 'InternalServerError'), 'unreachable', /500/],
    [
      'no answer',
      restError(undefined, 'REQUEST_SEND_ERROR'),
      'unreachable',
      /REQUEST_SEND_ERROR.*correct its name/,
    ],
    ['no answer in time', named('AbortError', 'The operation was aborted.'), 'unreachable', /AbortError/],
    ['an unknown error', new TypeError('x is not a function'), 'unreachable', /TypeError/],
  ])('%s', (_what, error, fault, message) => {
    expect(explained(error)).toMatchObject({ fault, message: expect.stringMatching(message) })
  })

  test('shows nothing of the text of Azure', () => {
    for (const status of [400, 401, 403, 404, 409, 429, 500, undefined])
      expect(explained(restError(status, 'Code', 'canary')).message).not.toMatch(/canary/)
  })

  test('keeps an error that is explained already', () => {
    const error = new SourceError('absent', 'is not there')

    expect(explained(error)).toBe(error)
  })
})

describe('a failed login is explained, with what to do', () => {
  const aadsts = 'invalid_client: AADSTS7000215: Invalid client secret provided.'
  const networkError = Object.assign(new Error('network_error: See …'), { errorCode: 'network_error' })
  test.each<[string, Error, SourceFault, RegExp]>([
    [
      'a wrong client secret',
      named('AuthenticationError', aadsts),
      'denied',
      /AADSTS7000215.*AZURE_CLIENT_SECRET/,
    ],
    [
      'a wrong client secret, by another error class',
      named('AuthenticationRequiredError', aadsts),
      'denied',
      /AADSTS7000215/,
    ],
    [
      'a refused managed identity',
      chain(unavailable('ManagedIdentityCredential: Authentication failed.'), ...others),
      'denied',
      /grant this server a managed identity/,
    ],
    [
      'an unavailable authority',
      named('AuthenticationError', 'endpoints_resolution_error: See …'),
      'unreachable',
      /No token service .* answered/,
    ],
    [
      'an unavailable IMDS',
      chain(unavailable('Attempted to use the IMDS endpoint, but it is not available.'), ...others),
      'unreachable',
      /No token service .* answered.*set AZURE_TENANT_ID/,
    ],
    [
      'an unavailable token service, by the cause only',
      chain(unavailable('ManagedIdentityCredential: failed', networkError), ...others),
      'unreachable',
      /No token service .* answered/,
    ],
  ])('%s', (_what, error, fault, message) => {
    expect(explained(error)).toMatchObject({ fault, message: expect.stringMatching(message) })
  })
})

testMissingSdk(keyVault, ['@azure/keyvault-secrets', '@azure/identity'])

const disabledVersion: object = { version: '1', createdOn: new Date(), enabled: false }

/** SDKs whose every secret has the same versions, by default a disabled one. `asked` gets the addresses of secrets. */
function sdks(asked: string[] = [], getToken = async () => 'a token', versions = [disabledVersion]) {
  class SecretClient {
    url: string
    credential: { getToken(): Promise<unknown> }
    constructor(url: string, credential: { getToken(): Promise<unknown> }) {
      this.url = url
      this.credential = credential
    }
    async *listPropertiesOfSecretVersions(name: string) {
      asked.push(`${this.url} ${name}`)
      await this.credential.getToken()
      yield* versions
    }
  }
  const DefaultAzureCredential = class {
    getToken = getToken
  }
  return { '@azure/keyvault-secrets': { SecretClient }, '@azure/identity': { DefaultAzureCredential } }
}

test.each([
  ['shop/jwt', 'https://shop.vault.azure.net jwt'],
  ['shop.vault.azure.cn/jwt', 'https://shop.vault.azure.cn jwt'],
  ['localhost:8443/jwt', 'https://localhost:8443 jwt'],
])('%s is the secret %s', async (place, address) => {
  const asked: string[] = []
  const open = await keyVault.connect(depsWith(sdks(asked)))

  await open(place).list(AbortSignal.timeout(1_000))

  expect(asked).toEqual([address])
})

test('a version is enabled unless it is disabled, expired, or not yet due', async () => {
  const createdOn = new Date()
  const [past, future] = [-60_000, 60_000].map((ms) => new Date(Date.now() + ms))
  const versions = [
    disabledVersion,
    { version: '2', createdOn },
    { version: '3', createdOn, enabled: true, notBefore: past, expiresOn: future },
    { version: '4', createdOn, enabled: true, expiresOn: past },
    { version: '5', createdOn, enabled: true, notBefore: future },
  ]
  const open = await keyVault.connect(depsWith(sdks([], undefined, versions)))

  const listed = await open('shop/jwt').list(AbortSignal.timeout(1_000))

  expect(listed.map(({ id, state }) => `${id} ${state}`)).toEqual([
    '1 disabled',
    '2 enabled',
    '3 enabled',
    '4 disabled',
    '5 disabled',
  ])
})

test('a login that hangs is given up in time [E5]', async () => {
  const hangs = sdks([], () => new Promise<never>(() => {}))
  const waits: number[] = []
  const delay = async (ms: number) => void waits.push(ms)
  const open = await keyVault.connect({ ...depsWith(hangs), delay })

  await expect(open('shop/jwt').list(AbortSignal.timeout(1_000))).rejects.toMatchObject({
    fault: 'unreachable',
    message: expect.stringMatching(/^No token service/),
  })
  expect(waits).toEqual([2_500])
})

test.each([
  'shop',
  'shop/',
  '/jwt',
  'shop//jwt',
  'shop/jwt/0123456789abcdef',
  'shop/jwt_access',
  'https://shop.vault.azure.net/jwt',
  'user@shop/jwt',
])('%s is refused, with an example', async (place) => {
  const open = await keyVault.connect(depsWith(sdks()))

  expect(() => open(place)).toThrow(wrongReference(keyVault))
})
