import { describe, expect, test } from '@jest/globals'
import type { SourceFault } from '../../../src/secrets/source-error.ts'
import { connectGoogle, crc32c, explainGoogle, textIn } from '../../../src/secrets/stores/google/google.ts'

const place = { project: 'shop', secret: 'jwt-access' }
const explained = (error: unknown) => explainGoogle(error, place)

/** As google-gax throws them. */
const grpcError = (code: number, details: string) =>
  Object.assign(new Error(`${code} ${details}`), { code, details })
const plugin = 'Getting metadata from plugin failed with error:'

describe('what Google answers', () => {
  test.each<[string, number, string, SourceFault, RegExp]>([
    ['a bad name', 3, 'INVALID_ARGUMENT', 'malformed', /correct PROJECT\/SECRET/],
    ['a deadline', 4, 'DEADLINE_EXCEEDED', 'unreachable', /look after/],
    ['nothing there', 5, 'NOT_FOUND: Secret', 'absent', /: gcloud secrets create jwt-access --project=shop /],
    [
      'missing roles',
      7,
      "Permission 'secretmanager.versions.list' denied on resource (or it may not exist).",
      'denied',
      /jwt-access --project=shop .*roles\/secretmanager\.viewer.*secretAccessor.*secretVersionAdder/,
    ],
    [
      'the API switched off',
      7,
      'Secret Manager API has not been used in project 1 before or it is disabled.',
      'denied',
      /gcloud services enable secretmanager\.googleapis\.com --project=shop/,
    ],
    ['a used-up quota', 8, 'Quota exceeded', 'unreachable', /look after/],
    ['a disabled version', 9, 'Secret Version [x] is in DISABLED state.', 'withdrawn', /disabled/],
    [
      'a disabled key of its own',
      9,
      'projects/x/locations/global/keyRings/y/cryptoKeys/z is not enabled',
      'denied',
      /enable the key in Cloud KMS/,
    ],
    ['an internal error', 13, 'INTERNAL', 'unreachable', /look after/],
    ['no connection', 14, 'Name resolution failed', 'unreachable', /network/],
    [
      'refused credentials',
      16,
      'invalid authentication credentials',
      'denied',
      /GOOGLE_APPLICATION_CREDENTIALS/,
    ],
    ['a revoked key', 2, `${plugin} invalid_grant: Invalid JWT Signature.`, 'denied', /credentials/],
    ['an absent token service', 2, `${plugin} getaddrinfo EAI_AGAIN x`, 'unreachable', /network/],
    ['a code unknown here', 99, 'NEW', 'unreachable', /99/],
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
  ])('before it is asked: %s', (_what, error, fault) => {
    expect(explained(error)).toMatchObject({ fault })
  })

  test('no text of others is passed on', () => {
    for (let code = 0; code < 20; code++)
      expect(explained(grpcError(code, 'the secret')).message).not.toMatch(/the secret/)
  })
})

describe('CRC-32C', () => {
  test.each([
    ['the check value of its catalogues', Buffer.from('123456789'), 0xe3069283],
    ['32 zeros, RFC 3720 B.4', Buffer.alloc(32), 0x8a9136aa],
    ['nothing', Buffer.alloc(0), 0],
  ])('%s', (_what, data, sum) => {
    expect(crc32c(data)).toBe(sum)
  })

  test.each([['3808858755'], [3808858755], [null], [undefined]])(
    'of a payload that is whole: %p',
    (dataCrc32c) => {
      expect(textIn({ data: Buffer.from('123456789'), dataCrc32c })).toBe('123456789')
    },
  )

  test('of one that was damaged: to be read again, and not shown', () => {
    const damaged = () => textIn({ data: Buffer.from('123456788'), dataCrc32c: '3808858755' })

    expect(damaged).toThrow(expect.objectContaining({ fault: 'unreachable' }))
    expect(damaged).not.toThrow(/123/)
  })
})

test('what is no text is malformed', () => {
  expect(() => textIn({ data: Uint8Array.of(0xff, 0xfe) })).toThrow(
    expect.objectContaining({ fault: 'malformed', message: expect.stringMatching(/is binary; write/) }),
  )
})

test('where its SDK is not installed, how to install it', async () => {
  await expect(connectGoogle({})).rejects.toMatchObject({
    fault: 'sdk_missing',
    message: expect.stringMatching(/npm install --save-prod @google-cloud\/secret-manager@6\.3\.0$/),
  })
})
