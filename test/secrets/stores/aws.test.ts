import { describe, expect, test } from '@jest/globals'
import { SourceError, type SourceFault } from '../../../src/secrets/source-error.ts'
import { explainAws } from '../../../src/secrets/stores/aws/aws.ts'
import { parameterStore } from '../../../src/secrets/stores/aws/parameter-store.ts'
import { secretsManager } from '../../../src/secrets/stores/aws/secrets-manager.ts'
import type { StoreKind } from '../../../src/secrets/stores/secret-store.ts'
import { depsWith, testMissingSdk } from './sdk.ts'

const arn = 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/jwt-AbCdEf'

const remedies = { create: 'aws create …', grant: 'read on shop/jwt' }
const explained = (error: Error) => explainAws(error, remedies)

interface Shape {
  message?: string
  code?: string
  /** The HTTP status. Missing if AWS did not answer. */
  status?: number
}

/** Makes an error as the clients of @aws-sdk and @smithy/node-http-handler throw it. Nobody must see its text. */
const awsError = (name: string, { message = 'canary', code, status }: Shape = {}) =>
  Object.assign(new Error(message), {
    name,
    ...(code && { code }),
    ...(status && { $fault: status < 500 ? 'client' : 'server' }),
    $metadata: { httpStatusCode: status, attempts: 1, totalRetryDelay: 0 },
  })

const create = /^The secret is not in AWS, in this account and region\. Create it: aws create …$/
const grant = /^AWS refused access \(\w+\)\. Grant read on shop\/jwt\.$/
const credentials =
  /^AWS does not accept the credentials \(\w+\)\. Give .* role .*, or renew AWS_ACCESS_KEY_ID/
const unavailable = /^AWS is unavailable \(\w+\)\. Check the network and the state of AWS\.$/

const html = `Unexpected token '<', "<html>canary" is not valid JSON
  Deserialization error: to see the raw response, inspect the hidden field {error}.$response on this object.`
const marked =
  "You can't perform this operation on the secret because it was marked for deletion: canary. Restore it first."
const cases: [what: string, error: Error, fault: SourceFault, message: RegExp][] = [
  ['no such secret', awsError('ResourceNotFoundException', { status: 400 }), 'absent', create],
  [
    'no such secret, from an emulator',
    awsError('ResourceNotFoundException', { status: 404 }),
    'absent',
    create,
  ],
  ['no such parameter', awsError('ParameterNotFound', { status: 400 }), 'absent', create],
  [
    'no such version of a parameter',
    awsError('ParameterVersionNotFound', { status: 400 }),
    'withdrawn',
    /^The version was deleted in the meantime\. Read the secret again\.$/,
  ],
  [
    'a secret marked for deletion',
    awsError('InvalidRequestException', { status: 400, message: marked }),
    'withdrawn',
    /marked for deletion\. Restore it: aws secretsmanager restore-secret$/,
  ],
  [
    'a secret scheduled for deletion',
    awsError('InvalidRequestException', { status: 400, message: 'canary was scheduled for deletion.' }),
    'withdrawn',
    /restore-secret$/,
  ],
  ['no policy', awsError('AccessDeniedException', { status: 400 }), 'denied', grant],
  ['no policy, in the words of other services', awsError('AccessDenied', { status: 403 }), 'denied', grant],
  ['no right to the KMS key', awsError('DecryptionFailure', { status: 400 }), 'denied', grant],
  ['no right to the KMS key, to write', awsError('EncryptionFailure', { status: 400 }), 'denied', grant],
  [
    'no right to the KMS key, from KMS',
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
  ['a wrong secret key, from STS', awsError('SignatureDoesNotMatch', { status: 403 }), 'denied', credentials],
  ['an expired token', awsError('ExpiredTokenException', { status: 400 }), 'denied', credentials],
  ['an unknown token', awsError('InvalidClientTokenId', { status: 403 }), 'denied', credentials],
  [
    'no region',
    awsError('Error', { message: 'Region is missing' }),
    'malformed',
    /^AWS needs a region\. Set AWS_REGION, such as eu-central-1\.$/,
  ],
  [
    'a wrong name',
    awsError('ValidationException', { status: 400 }),
    'malformed',
    /^AWS refused the name of the secret \(ValidationException\)\. Correct the name\.$/,
  ],
  [
    'a wrong name of a secret',
    awsError('InvalidParameterException', { status: 400 }),
    'malformed',
    /Correct the name\.$/,
  ],
  ['too many calls', awsError('ThrottlingException', { status: 400 }), 'unreachable', unavailable],
  ['too many writes', awsError('TooManyUpdates', { status: 400 }), 'unreachable', unavailable],
  ['an internal error', awsError('InternalServiceError', { status: 500 }), 'unreachable', unavailable],
  ['an internal error of SSM', awsError('InternalServerError', { status: 500 }), 'unreachable', unavailable],
  ['an error without a name', awsError('Unknown', { status: 503 }), 'unreachable', unavailable],
  [
    'no answer in time',
    awsError('TimeoutError', { code: 'ETIMEDOUT' }),
    'unreachable',
    /^AWS is unavailable \(ETIMEDOUT\)/,
  ],
  [
    'no answer in time, without a code',
    awsError('TimeoutError'),
    'unreachable',
    /^AWS is unavailable \(TimeoutError\)/,
  ],
  [
    'a refused connection',
    awsError('Error', { code: 'ECONNREFUSED', message: 'connect ECONNREFUSED canary' }),
    'unreachable',
    /^AWS is unavailable \(ECONNREFUSED\)/,
  ],
  [
    'no such host',
    awsError('Error', { code: 'ENOTFOUND', message: 'getaddrinfo ENOTFOUND canary' }),
    'unreachable',
    /^AWS is unavailable \(ENOTFOUND\)/,
  ],
  [
    'a closed connection',
    awsError('TimeoutError', { code: 'ECONNRESET', message: 'socket hang up' }),
    'unreachable',
    /^AWS is unavailable \(ECONNRESET\)/,
  ],
  [
    'an abort by the caller',
    awsError('AbortError', { message: 'Request aborted' }),
    'unreachable',
    unavailable,
  ],
  [
    'HTML instead of JSON',
    Object.assign(new SyntaxError(html), { $metadata: { httpStatusCode: 200, attempts: 1 } }),
    'unreachable',
    /^AWS is unavailable \(SyntaxError\)/,
  ],
  ['an unknown error', new TypeError('canary is not a function'), 'unreachable', unavailable],
]

describe('an error of AWS [E4]', () => {
  test.each(cases)('%s is explained, with what to do', (_what, error, fault, message) => {
    const explanation = explained(error)

    expect(explanation).toBeInstanceOf(SourceError)
    expect(explanation).toMatchObject({ fault, message: expect.stringMatching(message) })
  })

  test.each(cases)('%s: shows nothing of the text of AWS [E6]', (_what, error) => {
    const { message, stack, cause } = explained(error)

    expect(`${message} ${stack}`).not.toMatch(/canary/)
    expect(cause).toBeUndefined()
  })

  test('is known by its name, and not by its text', () => {
    const error = awsError('AccessDeniedException', { message: 'canary: Region is missing, deleted' })

    expect(explained(error)).toMatchObject({ fault: 'denied' })
  })

  test('a request that AWS refuses for another reason than a deletion is not withdrawn', () => {
    const error = awsError('InvalidRequestException', { status: 400, message: 'no value' })

    expect(explained(error)).not.toMatchObject({ fault: 'withdrawn' })
  })
})

testMissingSdk(secretsManager, ['@aws-sdk/client-secrets-manager'])
testMissingSdk(parameterStore, ['@aws-sdk/client-ssm'])

class Command {
  input: object
  constructor(input: object) {
    this.input = input
  }
}

test.each<[kind: StoreKind, place: string, input: object]>([
  [secretsManager, 'shop/jwt', { SecretId: 'shop/jwt' }],
  [secretsManager, arn, { SecretId: arn }],
  [parameterStore, 'shop/jwt', { Name: '/shop/jwt' }],
  [parameterStore, '/shop/jwt', { Name: '/shop/jwt' }],
])('finds a secret of AWS by its name or ARN: %#', async (kind, place, input) => {
  const asked: object[] = []
  class Client {
    async send(command: Command) {
      asked.push(command.input)
      return {}
    }
  }
  const open = await kind.connect(
    depsWith({
      '@aws-sdk/client-secrets-manager': {
        SecretsManagerClient: Client,
        ListSecretVersionIdsCommand: Command,
      },
      '@aws-sdk/client-ssm': { SSMClient: Client, GetParameterHistoryCommand: Command },
    }),
  )

  await open(place).list(AbortSignal.timeout(1_000))

  expect(asked).toEqual([expect.objectContaining(input)])
})
