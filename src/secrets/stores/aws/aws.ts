import { codeOf } from '../../../errors.ts'
import { absent, denied, malformed, type SourceError, unreachable, withdrawn } from '../../source-error.ts'

// This project declares what it uses of the SDKs, because they are installed only if somebody uses these stores.
export interface AwsClient {
  send(command: object, options: { abortSignal: AbortSignal }): Promise<unknown>
}
export type AwsCommand = new (input: object) => object

// `stored-secret.ts` limits the time of every call, and repeats reads. The SDK alone would take much longer to notice an outage.
export const clientSettings = {
  maxAttempts: 1,
  requestHandler: { connectionTimeout: 2_000, requestTimeout: 3_000, throwOnRequestTimeout: true },
}

/** Returns the items of all pages of a list. */
export async function pages<T>(page: (token?: string) => Promise<[T[], string | undefined]>): Promise<T[]> {
  const all: T[] = []
  let token: string | undefined
  do {
    const [items, next] = await page(token)
    all.push(...items)
    token = next
  } while (token)
  return all
}

interface Remedies {
  /** The command that creates the secret. */
  create: string
  /** The permissions to grant. */
  grant: string
}

/** Returns a function that sends commands. Its errors say how to fix them. */
export function sender(client: AwsClient, remedies: Remedies) {
  return async function send<Answer>(command: object, abortSignal: AbortSignal): Promise<Answer> {
    try {
      return (await client.send(command, { abortSignal })) as Answer
    } catch (error) {
      throw explainAws(error as Error, remedies)
    }
  }
}

/**
 * Translates an error of the SDK. Uses the error's name, because services use different HTTP statuses. Never includes
 * the SDK's message.
 */
export function explainAws(error: Error, { create, grant }: Remedies): SourceError {
  const { name, message } = error
  if (/^(ResourceNotFoundException|ParameterNotFound)$/.test(name))
    return absent(`The secret is not in AWS, in this account and region. Create it: ${create}`)
  if (name === 'ParameterVersionNotFound')
    return withdrawn('The version was deleted in the meantime. Read the secret again.')
  if (name === 'InvalidRequestException' && /delet/.test(message))
    return withdrawn('The secret is marked for deletion. Restore it: aws secretsmanager restore-secret')
  if (/AccessDenied|NotAuthorized|DecryptionFailure|EncryptionFailure|KMS|InvalidKeyId/.test(name))
    return denied(`AWS refused access (${name}). Grant ${grant}.`)
  if (refusedCredentials.test(name))
    return denied(
      `AWS does not accept the credentials (${name}). Give this server's role a policy for the secret, or renew AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.`,
    )
  if (/^Region is missing/.test(message))
    return malformed('AWS needs a region. Set AWS_REGION, such as eu-central-1.')
  if (/Validation|InvalidParameter|UnsupportedParameter/.test(name))
    return malformed(`AWS refused the name of the secret (${name}). Correct the name.`)
  if (/InvalidRequest|LimitExceeded|HierarchyTypeMismatch/.test(name))
    return malformed(`AWS refused the request (${name}). Look the error up in the documentation of AWS.`)
  return unreachable(`AWS is unavailable (${codeOf(error) ?? name}). Check the network and the state of AWS.`)
}

const refusedCredentials =
  /Credentials|UnrecognizedClient|Signature|ExpiredToken|InvalidClientTokenId|AuthFailure|MissingAuthentication|OptInRequired|RequestExpired/
