import { codeOf } from '../../../errors.ts'
import { SourceError } from '../../source-error.ts'

// What is used of the SDKs, which only those have who use these stores.
interface Client {
  send(command: object, options: { abortSignal: AbortSignal }): Promise<unknown>
}
/** An SDK of AWS: its client, and the commands that are used of it. */
export type AwsSdk<ClientName extends string, CommandName extends string> = Record<
  ClientName,
  new (
    settings: object,
  ) => Client
> &
  Record<CommandName, new (input: object) => object>

// Every call is limited and repeated by its caller; the SDK alone would take much longer to notice an outage.
export const clientSettings = {
  maxAttempts: 1,
  requestHandler: { connectionTimeout: 2_000, requestTimeout: 3_000, throwOnRequestTimeout: true },
}

/** All pages of a list. */
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

interface Mending {
  create: string
  grant: string
}

/** Sends commands whose errors say how to fix them. */
export function sender(client: Client, mending: Mending) {
  return async function send<Answer>(command: object, abortSignal: AbortSignal): Promise<Answer> {
    try {
      return (await client.send(command, { abortSignal })) as Answer
    } catch (error) {
      throw explainAws(error as Error, mending)
    }
  }
}

/** What an error of the SDK means. Told apart by name, as the HTTP status of one cause differs between services. */
export function explainAws(error: Error, { create, grant }: Mending): SourceError {
  const { name, message } = error
  if (/^(ResourceNotFoundException|ParameterNotFound)$/.test(name))
    return new SourceError('absent', `is not in AWS, in this account and region: ${create}`)
  if (name === 'ParameterVersionNotFound')
    return new SourceError('withdrawn', 'is a version that was deleted meanwhile')
  if (name === 'InvalidRequestException' && /delet/.test(message))
    return new SourceError(
      'withdrawn',
      'is a secret that is marked for deletion: aws secretsmanager restore-secret',
    )
  if (/AccessDenied|NotAuthorized|DecryptionFailure|EncryptionFailure|KMS|InvalidKeyId/.test(name))
    return new SourceError('denied', `was refused by AWS (${name}): grant ${grant}`)
  if (
    /Credentials|UnrecognizedClient|Signature|ExpiredToken|InvalidClientTokenId|AuthFailure|MissingAuthentication|OptInRequired|RequestExpired/.test(
      name,
    )
  )
    return new SourceError(
      'denied',
      `is in AWS, which does not accept the credentials (${name}): give this server's role the policy to use it, or renew AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
    )
  if (/^Region is missing/.test(message))
    return new SourceError('malformed', 'is in AWS: set AWS_REGION, such as eu-central-1')
  if (/Validation|InvalidParameter|UnsupportedParameter/.test(name))
    return new SourceError('malformed', `is refused by AWS (${name}): correct the name`)
  if (/InvalidRequest|LimitExceeded|HierarchyTypeMismatch/.test(name))
    return new SourceError(
      'malformed',
      `is refused by AWS (${name}), whose documentation says what that means`,
    )
  return new SourceError(
    'unreachable',
    `is in AWS, which does not serve (${codeOf(error) ?? name}); look after it`,
  )
}
