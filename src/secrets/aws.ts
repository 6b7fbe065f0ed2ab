import { SourceError } from './source-error.ts'
import { importSdk, type OpenStore, type StoredVersion } from './store.ts'

// What is used of the SDKs, which only those have who use these stores.
interface Client {
  send(command: object, options: { abortSignal: AbortSignal }): Promise<unknown>
}
type Sdk<ClientName extends string, CommandName extends string> = Record<
  ClientName,
  new (
    settings: object,
  ) => Client
> &
  Record<CommandName, new (input: object) => object>

// Every call is limited and repeated by its caller; the SDK alone would take much longer to notice an outage.
const settings = {
  maxAttempts: 1,
  requestHandler: { connectionTimeout: 2_000, requestTimeout: 3_000, throwOnRequestTimeout: true },
}

interface SecretValue {
  SecretString?: string
  SecretBinary?: Uint8Array
  CreatedDate: Date
}

/** AWS Secrets Manager: the name or the ARN of a secret. */
export async function connectSecretsManager(): Promise<OpenStore> {
  const sdk: Sdk<
    'SecretsManagerClient',
    'ListSecretVersionIdsCommand' | 'GetSecretValueCommand' | 'PutSecretValueCommand'
  > = await importSdk('@aws-sdk/client-secrets-manager')
  const client = new sdk.SecretsManagerClient(settings)

  return (SecretId) => {
    const send = sender(client, {
      create: `aws secretsmanager create-secret --name ${SecretId} --secret-string …`,
      grant: `secretsmanager:ListSecretVersionIds and GetSecretValue on ${SecretId} (to rotate: PutSecretValue)`,
    })
    // Dates are those of the values: a list has been seen to date versions by when it was made.
    const values = new Map<string, SecretValue>()
    async function value(VersionId: string, signal: AbortSignal): Promise<SecretValue> {
      const known = values.get(VersionId)
      if (known) return known
      const found = await send<SecretValue>(new sdk.GetSecretValueCommand({ SecretId, VersionId }), signal)
      values.set(VersionId, found)
      return found
    }

    async function dated(
      id: string,
      listedAt: Date,
      signal: AbortSignal,
    ): Promise<StoredVersion | undefined> {
      try {
        const { CreatedDate } = await value(id, signal)
        return { id, createdAt: CreatedDate.getTime(), state: 'enabled' }
      } catch (error) {
        // Listed, and without a value: not written yet, or gone meanwhile.
        if (error instanceof SourceError && error.fault === 'absent') return undefined
        if (error instanceof SourceError && error.fault === 'denied')
          return { id, createdAt: listedAt.getTime(), state: 'enabled' }
        throw error
      }
    }

    return {
      async list(signal) {
        // Only two versions have a label. Those that lost it count for as long as they are there.
        const listed = await pages(async (NextToken) => {
          const input = { SecretId, IncludeDeprecated: true, MaxResults: 100, NextToken }
          const page = await send<{
            Versions?: { VersionId: string; CreatedDate: Date }[]
            NextToken?: string
          }>(new sdk.ListSecretVersionIdsCommand(input), signal)
          return [page.Versions ?? [], page.NextToken]
        })
        for (const id of values.keys())
          if (!listed.some(({ VersionId }) => VersionId === id)) values.delete(id)
        const versions = await Promise.all(
          listed.map(({ VersionId, CreatedDate }) => dated(VersionId, CreatedDate, signal)),
        )
        return versions.filter((version) => version !== undefined)
      },
      async read(id, signal) {
        const { SecretString, SecretBinary } = await value(id, signal)
        if (SecretBinary) throw new SourceError('malformed', 'is binary; write it as a string')
        return SecretString ?? ''
      },
      async write(SecretString, signal) {
        await send(new sdk.PutSecretValueCommand({ SecretId, SecretString }), signal)
      },
    }
  }
}

interface Parameter {
  Version: number
  Type: string
  Value: string
  LastModifiedDate: Date
  KeyId?: string
}

/** AWS Systems Manager Parameter Store, parameters of the type SecureString: `a/b` means `/a/b`. */
export async function connectParameterStore(): Promise<OpenStore> {
  const sdk: Sdk<'SSMClient', 'GetParameterHistoryCommand' | 'GetParameterCommand' | 'PutParameterCommand'> =
    await importSdk('@aws-sdk/client-ssm')
  const client = new sdk.SSMClient(settings)

  return (place) => {
    const Name = `/${place.replace(/^\//, '')}`
    const send = sender(client, {
      create: `aws ssm put-parameter --type SecureString --name ${Name} --value …`,
      grant: `ssm:GetParameterHistory and ssm:GetParameter on ${Name}, and kms:Decrypt on its key (to rotate: ssm:PutParameter, kms:Encrypt)`,
    })

    // Without it, a new version would be encrypted with the key of the account and not with its own.
    let keyId: string | undefined

    return {
      async list(signal) {
        const versions = await pages(async (NextToken) => {
          const page = await send<{ Parameters?: Parameter[]; NextToken?: string }>(
            new sdk.GetParameterHistoryCommand({ Name, MaxResults: 50, NextToken }),
            signal,
          )
          return [page.Parameters ?? [], page.NextToken]
        })
        keyId = versions.at(-1)?.KeyId
        return versions.map(({ Version, LastModifiedDate }) => ({
          id: String(Version),
          createdAt: LastModifiedDate.getTime(),
          state: 'enabled',
        }))
      },
      async read(id, signal) {
        const { Parameter } = await send<{ Parameter: Parameter }>(
          new sdk.GetParameterCommand({ Name: `${Name}:${id}`, WithDecryption: true }),
          signal,
        )
        if (Parameter.Type === 'SecureString') return Parameter.Value
        throw new SourceError('malformed', `is a ${Parameter.Type}; write it as a SecureString`)
      },
      async write(Value, signal) {
        const input = { Name, Value, Type: 'SecureString', KeyId: keyId, Overwrite: true }
        await send(new sdk.PutParameterCommand(input), signal)
      },
    }
  }
}

async function pages<T>(page: (token?: string) => Promise<[T[], string | undefined]>): Promise<T[]> {
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

function sender(client: Client, mending: Mending) {
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
  const { code = name } = error as NodeJS.ErrnoException
  return new SourceError('unreachable', `is in AWS, which does not serve (${code}); look after it`)
}
