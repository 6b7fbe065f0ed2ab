import { malformed, SourceError } from '../../source-error.ts'
import type { OpenStore, StoreDeps, StoredVersion, StoreKind } from '../secret-store.ts'
import { type AwsClient, type AwsCommand, clientSettings, pages, sender } from './aws.ts'

interface Sdk {
  SecretsManagerClient: new (settings: object) => AwsClient
  ListSecretVersionIdsCommand: AwsCommand
  GetSecretValueCommand: AwsCommand
  PutSecretValueCommand: AwsCommand
}

interface SecretValue {
  SecretString?: string
  SecretBinary?: Uint8Array
  CreatedDate: Date
}

interface ListedVersion {
  VersionId: string
  CreatedDate: Date
}

interface VersionPage {
  Versions?: ListedVersion[]
  NextToken?: string
}

export const secretsManager: StoreKind = {
  scheme: 'awssecrets',
  field: 'optional',
  example: 'ref+awssecrets://NAME[#/KEY]',
  connect,
}

/** AWS Secrets Manager: the name or the ARN of a secret. */
async function connect({ importSdk }: StoreDeps): Promise<OpenStore> {
  const sdk: Sdk = await importSdk('@aws-sdk/client-secrets-manager')
  const client = new sdk.SecretsManagerClient(clientSettings)

  return (SecretId) => {
    const send = sender(client, {
      create: `aws secretsmanager create-secret --name ${SecretId} --secret-string …`,
      grant: `secretsmanager:ListSecretVersionIds and GetSecretValue on ${SecretId} (to rotate: PutSecretValue)`,
    })
    const values = new Map<string, SecretValue>()

    async function readOnce(VersionId: string, signal: AbortSignal): Promise<SecretValue> {
      const known = values.get(VersionId)
      if (known) return known
      const found = await send<SecretValue>(new sdk.GetSecretValueCommand({ SecretId, VersionId }), signal)
      values.set(VersionId, found)
      return found
    }

    // Takes the date from the value, because some lists date versions by the time of the call.
    async function describe(listed: ListedVersion, signal: AbortSignal): Promise<StoredVersion | undefined> {
      const id = listed.VersionId
      try {
        const { CreatedDate } = await readOnce(id, signal)
        return { id, createdAt: CreatedDate.getTime(), state: 'enabled' }
      } catch (error) {
        if (!(error instanceof SourceError)) throw error
        // A listed version without a value is not written yet, or was deleted in the meantime.
        if (error.fault === 'absent') return undefined
        if (error.fault === 'denied') return { id, createdAt: listed.CreatedDate.getTime(), state: 'enabled' }
        throw error
      }
    }

    return {
      async list(signal) {
        // Only two versions have a label. Older ones count as long as AWS keeps them.
        const listed = await pages(async (NextToken) => {
          const input = { SecretId, IncludeDeprecated: true, MaxResults: 100, NextToken }
          const page = await send<VersionPage>(new sdk.ListSecretVersionIdsCommand(input), signal)
          return [page.Versions ?? [], page.NextToken]
        })
        for (const id of values.keys())
          if (!listed.some(({ VersionId }) => VersionId === id)) values.delete(id)
        const versions = await Promise.all(listed.map((version) => describe(version, signal)))
        return versions.filter((version) => version !== undefined)
      },
      async read(id, signal) {
        const { SecretString, SecretBinary } = await readOnce(id, signal)
        if (SecretBinary) throw malformed('The secret is binary. Write it as a string.')
        return SecretString ?? ''
      },
      async write(SecretString, signal) {
        await send(new sdk.PutSecretValueCommand({ SecretId, SecretString }), signal)
      },
    }
  }
}
