import { SourceError } from '../../source-error.ts'
import { importSdk, type OpenStore, type StoredVersion, type StoreKind } from '../secret-store.ts'
import { type AwsSdk, clientSettings, pages, sender } from './aws.ts'

interface SecretValue {
  SecretString?: string
  SecretBinary?: Uint8Array
  CreatedDate: Date
}

export const secretsManager: StoreKind = {
  scheme: 'awssecrets',
  field: 'optional',
  example: 'ref+awssecrets://NAME[#/KEY]',
  connect: connectSecretsManager,
}

/** AWS Secrets Manager: the name or the ARN of a secret. */
export async function connectSecretsManager(): Promise<OpenStore> {
  const sdk: AwsSdk<
    'SecretsManagerClient',
    'ListSecretVersionIdsCommand' | 'GetSecretValueCommand' | 'PutSecretValueCommand'
  > = await importSdk('@aws-sdk/client-secrets-manager')
  const client = new sdk.SecretsManagerClient(clientSettings)

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
