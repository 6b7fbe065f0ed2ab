import { describe, expect, test } from '@jest/globals'
import type { SourceFault } from '../../../src/secrets/source-error.ts'
import { crc32c, explainGoogle, google, textIn } from '../../../src/secrets/stores/google/google.ts'
import { wrongReference } from '../../../src/secrets/stores/secret-store.ts'
import { depsWith, testMissingSdk } from './sdk.ts'

const place = { project: 'shop', secret: 'jwt-access' }
const explained = (error: unknown) => explainGoogle(error, place)

/** Makes an error as google-gax throws it. */
const grpcError = (code: number, details: string) =>
  Object.assign(new Error(`${code} ${details}`), { code, details })
const plugin = 'Getting metadata from plugin failed with error:'

describe('an error of Google is explained, with what to do', () => {
  test.each<[string, number, string, SourceFault, RegExp]>([
    ['a bad name', 3, 'INVALID_ARGUMENT', 'malformed', /Correct PROJECT\/SECRET/],
    ['a deadline', 4, 'DEADLINE_EXCEEDED', 'unreachable', /is unavailable/],
    [
      'a missing secret',
      5,
      'NOT_FOUND: Secret',
      'absent',
      /Create it: gcloud secrets create jwt-access --project=shop /,
    ],
    [
      'missing roles',
      7,
      "Permission 'secretmanager.versions.list' denied on resource (or it may not exist).",
      'denied',
      /jwt-access --project=shop .*roles\/secretmanager\.viewer.*secretAccessor.*secretVersionAdder/,
    ],
    [
      'a disabled API',
      7,
      'Secret Manager API has not been used in project 1 before or it is disabled.',
      'denied',
      /Enable it: gcloud services enable secretmanager\.googleapis\.com --project=shop/,
    ],
    ['a used-up quota', 8, 'Quota exceeded', 'unreachable', /is unavailable/],
    ['a disabled version', 9, 'Secret Version [x] is in DISABLED state.', 'withdrawn', /disabled/],
    [
      'a disabled KMS key',
      9,
      'projects/x/locations/global/keyRings/y/cryptoKeys/z is not enabled',
      'denied',
      /in Cloud KMS is disabled\. Enable the key/,
    ],
    ['an internal error', 13, 'INTERNAL', 'unreachable', /is unavailable/],
    ['no connection', 14, 'Name resolution failed', 'unreachable', /network/],
    [
      'refused credentials',
      16,
      'invalid authentication credentials',
      'denied',
      /GOOGLE_APPLICATION_CREDENTIALS/,
    ],
    ['a revoked key', 2, `${plugin} invalid_grant: Invalid JWT Signature.`, 'denied', /credentials/],
    ['an unavailable token service', 2, `${plugin} getaddrinfo EAI_AGAIN x`, 'unreachable', /network/],
    ['an unknown code', 99, 'NEW', 'unreachable', /99/],
  ])('%s', (_what, code, details, fault, message) => {
    expect(explained(grpcError(code, details))).toMatchObject({
      fault,
      message: expect.stringMatching(message),
    })
  })

  test.each<[string, object, SourceFault]>([
    ['no credentials', new Error('Could not load the default credentials. Browse to …'), 'denied'],
    [
      'a missing file',
      Object.assign(new Error('The file at /x does not exist'), { code: 'ENOENT' }),
      'denied',
    ],
    ['a broken file', new SyntaxError("Expected property name or '}' in JSON"), 'denied'],
    ['no network', Object.assign(new Error('getaddrinfo'), { code: 'ENOTFOUND' }), 'unreachable'],
  ])('before the first call: %s', (_what, error, fault) => {
    expect(explained(error)).toMatchObject({ fault })
  })

  test('shows nothing of the text of Google', () => {
    for (let code = 0; code < 20; code++)
      expect(explained(grpcError(code, 'canary')).message).not.toMatch(/canary/)
  })
})

describe('CRC-32C', () => {
  test.each([
    ['the published check value', Buffer.from('123456789'), 0xe3069283],
    ['32 zeros, RFC 3720 B.4', Buffer.alloc(32), 0x8a9136aa],
    ['no bytes', Buffer.alloc(0), 0],
  ])('%s', (_what, data, sum) => {
    expect(crc32c(data)).toBe(sum)
  })

  test.each([['3808858755'], [3808858755], [null], [undefined]])(
    'accepts an intact payload, with the checksum %p',
    (dataCrc32c) => {
      expect(textIn({ data: Buffer.from('123456789'), dataCrc32c })).toBe('123456789')
    },
  )

  test('refuses a damaged payload, to be read again, and does not show it', () => {
    const damaged = () => textIn({ data: Buffer.from('123456788'), dataCrc32c: '3808858755' })

    expect(damaged).toThrow(expect.objectContaining({ fault: 'unreachable' }))
    expect(damaged).not.toThrow(/123/)
  })
})

test('a binary secret is malformed', () => {
  expect(() => textIn({ data: Uint8Array.of(0xff, 0xfe) })).toThrow(
    expect.objectContaining({ fault: 'malformed', message: expect.stringMatching(/is binary\. Write/) }),
  )
})

testMissingSdk(google, ['@google-cloud/secret-manager'])

test.each([
  ['shop/jwt', 'projects/shop/secrets/jwt'],
  ['example.com:shop/jwt', 'projects/example.com:shop/secrets/jwt'],
])('%s is the secret %s', async (place, parent) => {
  const asked: string[] = []
  const sdk = {
    SecretManagerServiceClient: class {
      async initialize() {}
      async listSecretVersions(request: { parent: string }) {
        asked.push(request.parent)
        return [[]]
      }
    },
  }
  const open = await google.connect(depsWith({ '@google-cloud/secret-manager': sdk }))

  await open(place).list(AbortSignal.timeout(1_000))

  expect(asked).toEqual([parent])
})

test.each([
  'shop',
  'shop/',
  '/jwt',
  'shop//jwt',
  'shop/jwt/versions/1',
  'projects/shop/secrets/jwt',
  'shop/../jwt',
])('%s is refused, with an example', async (place) => {
  const open = await google.connect(depsWith({ '@google-cloud/secret-manager': {} }))

  expect(() => open(place)).toThrow(wrongReference(google))
})
