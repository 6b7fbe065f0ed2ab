import { describe, expect, test } from '@jest/globals'
import { SourceError, type SourceFault } from '../../../src/secrets/source-error.ts'
import { connectKeyVault, explainAzure } from '../../../src/secrets/stores/azure/azure.ts'

const place = { host: 'shop.vault.azure.net', secret: 'jwt-access' }
const explained = (error: unknown) => explainAzure(error, place)

/** As @azure/core-rest-pipeline and @azure/identity throw them. */
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

describe('what a vault answers', () => {
  test.each<[string, Error, SourceFault, RegExp]>([
    ['a bad name', restError(400, 'BadParameter'), 'malformed', /correct/],
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
      /firewall of shop\.vault\.azure\.net; grant/,
    ],
    [
      'a vault without public access, which is no disabled version',
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
      'a disabled version, told in words',
      restError(403, 'Forbidden', 'Operation get is not allowed on a disabled secret.'),
      'withdrawn',
      /disabled/,
    ],
    [
      'nothing there',
      restError(404, 'SecretNotFound'),
      'absent',
      /: az keyvault secret set --vault-name shop --name jwt-access/,
    ],
    ['a deleted name', restError(409, 'Conflict'), 'conflict', /az keyvault secret recover \(or purge\) /],
    ['too many calls', restError(429, 'Throttled'), 'unreachable', /429/],
    ['an error of its own', restError(500, 'InternalServerError'), 'unreachable', /500/],
    [
      'nothing at all',
      restError(undefined, 'REQUEST_SEND_ERROR'),
      'unreachable',
      /REQUEST_SEND_ERROR.*correct its name/,
    ],
    ['nothing in time', named('AbortError', 'The operation was aborted.'), 'unreachable', /AbortError/],
    ['what is unknown here', new TypeError('x is not a function'), 'unreachable', /TypeError/],
  ])('%s', (_what, error, fault, message) => {
    expect(explained(error)).toMatchObject({ fault, message: expect.stringMatching(message) })
  })

  test('no text of others is passed on', () => {
    for (const status of [400, 401, 403, 404, 409, 429, 500, undefined])
      expect(explained(restError(status, 'Code', 'the secret')).message).not.toMatch(/the secret/)
  })

  test('what is explained already stays so', () => {
    const error = new SourceError('absent', 'is not there')

    expect(explained(error)).toBe(error)
  })
})

describe('a login that fails', () => {
  const aadsts = 'invalid_client: AADSTS7000215: Invalid client secret provided.'
  const networkError = Object.assign(new Error('network_error: See …'), { errorCode: 'network_error' })
  test.each<[string, Error, SourceFault, RegExp]>([
    [
      'a wrong client secret',
      named('AuthenticationError', aadsts),
      'denied',
      /AADSTS7000215.*AZURE_CLIENT_SECRET/,
    ],
    ['the same, of another class', named('AuthenticationRequiredError', aadsts), 'denied', /AADSTS7000215/],
    [
      'a refused managed identity',
      chain(unavailable('ManagedIdentityCredential: Authentication failed.'), ...others),
      'denied',
      /grant this server a managed identity/,
    ],
    [
      'an absent authority',
      named('AuthenticationError', 'endpoints_resolution_error: See …'),
      'unreachable',
      /no service answers/,
    ],
    [
      'IMDS out of reach',
      chain(unavailable('Attempted to use the IMDS endpoint, but it is not available.'), ...others),
      'unreachable',
      /no service answers.*set AZURE_TENANT_ID/,
    ],
    [
      'a token service out of reach, told by a cause only',
      chain(unavailable('ManagedIdentityCredential: failed', networkError), ...others),
      'unreachable',
      /no service answers/,
    ],
  ])('%s', (_what, error, fault, message) => {
    expect(explained(error)).toMatchObject({ fault, message: expect.stringMatching(message) })
  })
})

test('where its SDKs are not installed, how to install them', async () => {
  await expect(connectKeyVault({})).rejects.toMatchObject({
    fault: 'sdk_missing',
    message: expect.stringMatching(
      /npm install --save-prod @azure\/keyvault-secrets@4\.11\.2 @azure\/identity@4\.13\.1$/,
    ),
  })
})
