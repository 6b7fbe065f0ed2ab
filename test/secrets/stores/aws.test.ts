import { describe, expect, test } from '@jest/globals'
import { SourceError, type SourceFault } from '../../../src/secrets/source-error.ts'
import { explainAws } from '../../../src/secrets/stores/aws/aws.ts'

const mending = { create: 'aws create …', grant: 'read on shop/jwt' }
const explained = (error: Error) => explainAws(error, mending)

interface Shape {
  message?: string
  code?: string
  /** The HTTP status; missing where AWS was not asked, or did not answer. */
  status?: number
}

/** As the clients of @aws-sdk and @smithy/node-http-handler throw them. Its text is not this project's to show. */
const awsError = (name: string, { message = 'canary', code, status }: Shape = {}) =>
  Object.assign(new Error(message), {
    name,
    ...(code && { code }),
    ...(status && { $fault: status < 500 ? 'client' : 'server' }),
    $metadata: { httpStatusCode: status, attempts: 1, totalRetryDelay: 0 },
  })

const create = /^is not in AWS, in this account and region: aws create …$/
const grant = /^was refused by AWS \(\w+\): grant read on shop\/jwt$/
const credentials =
  /^is in AWS, which does not accept the credentials \(\w+\): give .* role .*, or renew AWS_ACCESS_KEY_ID/
const lookAfter = /^is in AWS, which does not serve \(\w+\); look after it$/

const html = `Unexpected token '<', "<html>canary" is not valid JSON
  Deserialization error: to see the raw response, inspect the hidden field {error}.$response on this object.`
const marked =
  "You can't perform this operation on the secret because it was marked for deletion: canary. Restore it first."
const cases: [what: string, error: Error, fault: SourceFault, message: RegExp][] = [
  ['no such secret', awsError('ResourceNotFoundException', { status: 400 }), 'absent', create],
  [
    'no such secret, of an emulator',
    awsError('ResourceNotFoundException', { status: 404 }),
    'absent',
    create,
  ],
  ['no such parameter', awsError('ParameterNotFound', { status: 400 }), 'absent', create],
  [
    'no such version of a parameter',
    awsError('ParameterVersionNotFound', { status: 400 }),
    'withdrawn',
    /^is a version that was deleted meanwhile$/,
  ],
  [
    'a secret marked for deletion',
    awsError('InvalidRequestException', { status: 400, message: marked }),
    'withdrawn',
    /marked for deletion: aws secretsmanager restore-secret$/,
  ],
  [
    'a secret scheduled for deletion',
    awsError('InvalidRequestException', { status: 400, message: 'canary was scheduled for deletion.' }),
    'withdrawn',
    /restore-secret$/,
  ],
  ['no policy', awsError('AccessDeniedException', { status: 400 }), 'denied', grant],
  ['no policy, as other services call it', awsError('AccessDenied', { status: 403 }), 'denied', grant],
  ['no right to the KMS key', awsError('DecryptionFailure', { status: 400 }), 'denied', grant],
  ['no right to the KMS key, to write', awsError('EncryptionFailure', { status: 400 }), 'denied', grant],
  [
    'no right to the KMS key, told by KMS',
    awsError('KMSAccessDeniedException', { status: 400 }),
    'denied',
    grant,
  ],
  ['a disabled KMS key', awsError('KMSDisabledException', { status: 400 }), 'denied', grant],
  ['no such KMS key', awsError('InvalidKeyId', { status: 400 }), 'denied', grant],
  [
    'no credentials',
    awsError('CredentialsProviderError', { message: 'Could not load credentials from any providers' }),
    'denied',
    credentials,
  ],
  ['an unknown access key', awsError('UnrecognizedClientException', { status: 400 }), 'denied', credentials],
  ['a wrong secret key', awsError('InvalidSignatureException', { status: 400 }), 'denied', credentials],
  ['a wrong secret key, of STS', awsError('SignatureDoesNotMatch', { status: 403 }), 'denied', credentials],
  ['a token that is over', awsError('ExpiredTokenException', { status: 400 }), 'denied', credentials],
  ['a token of nobody', awsError('InvalidClientTokenId', { status: 403 }), 'denied', credentials],
  [
    'no region',
    awsError('Error', { message: 'Region is missing' }),
    'malformed',
    /^is in AWS: set AWS_REGION, such as eu-central-1$/,
  ],
  [
    'a name that cannot be one',
    awsError('ValidationException', { status: 400 }),
    'malformed',
    /^is refused by AWS \(ValidationException\): correct the name$/,
  ],
  [
    'a name that cannot be one, of a secret',
    awsError('InvalidParameterException', { status: 400 }),
    'malformed',
    /correct the name$/,
  ],
  ['too many calls', awsError('ThrottlingException', { status: 400 }), 'unreachable', lookAfter],
  ['too many writes', awsError('TooManyUpdates', { status: 400 }), 'unreachable', lookAfter],
  ['an error of its own', awsError('InternalServiceError', { status: 500 }), 'unreachable', lookAfter],
  ['an error of SSM', awsError('InternalServerError', { status: 500 }), 'unreachable', lookAfter],
  ['an error without a name', awsError('Unknown', { status: 503 }), 'unreachable', lookAfter],
  [
    'nothing in time',
    awsError('TimeoutError', { code: 'ETIMEDOUT' }),
    'unreachable',
    /does not serve \(ETIMEDOUT\); look after it$/,
  ],
  [
    'nothing in time, without a code',
    awsError('TimeoutError'),
    'unreachable',
    /does not serve \(TimeoutError\); look after it$/,
  ],
  [
    'nobody who listens',
    awsError('Error', { code: 'ECONNREFUSED', message: 'connect ECONNREFUSED canary' }),
    'unreachable',
    /does not serve \(ECONNREFUSED\); look after it$/,
  ],
  [
    'no such host',
    awsError('Error', { code: 'ENOTFOUND', message: 'getaddrinfo ENOTFOUND canary' }),
    'unreachable',
    /does not serve \(ENOTFOUND\); look after it$/,
  ],
  [
    'a hang-up',
    awsError('TimeoutError', { code: 'ECONNRESET', message: 'socket hang up' }),
    'unreachable',
    /does not serve \(ECONNRESET\); look after it$/,
  ],
  ['an end by the caller', awsError('AbortError', { message: 'Request aborted' }), 'unreachable', lookAfter],
  [
    'HTML where JSON is expected',
    Object.assign(new SyntaxError(html), { $metadata: { httpStatusCode: 200, attempts: 1 } }),
    'unreachable',
    /does not serve \(SyntaxError\); look after it$/,
  ],
  ['what is unknown here', new TypeError('canary is not a function'), 'unreachable', lookAfter],
]

describe('E4 what AWS answers', () => {
  test.each(cases)('%s', (_what, error, fault, message) => {
    const explanation = explained(error)

    expect(explanation).toBeInstanceOf(SourceError)
    expect(explanation).toMatchObject({ fault, message: expect.stringMatching(message) })
  })

  test.each(cases)('E6 of %s no text of others is passed on', (_what, error) => {
    const { message, stack, cause } = explained(error)

    expect(`${message} ${stack}`).not.toMatch(/canary/)
    expect(cause).toBeUndefined()
  })

  test('is told by its name, whatever its text says', () => {
    const error = awsError('AccessDeniedException', { message: 'canary: Region is missing, deleted' })

    expect(explained(error)).toMatchObject({ fault: 'denied' })
  })

  test('a request that is refused for another reason than a deletion is not withdrawn', () => {
    const error = awsError('InvalidRequestException', { status: 400, message: 'no value' })

    expect(explained(error)).not.toMatchObject({ fault: 'withdrawn' })
  })
})
