import { malformed } from '../../source-error.ts'
import type { OpenStore, StoreDeps, StoreKind } from '../secret-store.ts'
import { type AwsClient, type AwsCommand, clientSettings, pages, sender } from './aws.ts'

interface Sdk {
  SSMClient: new (settings: object) => AwsClient
  GetParameterHistoryCommand: AwsCommand
  GetParameterCommand: AwsCommand
  PutParameterCommand: AwsCommand
}

interface Parameter {
  Version: number
  Type: string
  Value: string
  LastModifiedDate: Date
  KeyId?: string
}

export const parameterStore: StoreKind = {
  scheme: 'awsssm',
  field: 'none',
  example: 'ref+awsssm://PATH',
  connect,
}

/** AWS Systems Manager Parameter Store, parameters of the type SecureString. `a/b` means `/a/b`. */
async function connect({ importSdk }: StoreDeps): Promise<OpenStore> {
  const sdk: Sdk = await importSdk('@aws-sdk/client-ssm')
  const client = new sdk.SSMClient(clientSettings)

  return (place) => {
    const Name = `/${place.replace(/^\//, '')}`
    const send = sender(client, {
      create: `aws ssm put-parameter --type SecureString --name ${Name} --value …`,
      grant: `ssm:GetParameterHistory and ssm:GetParameter on ${Name}, and kms:Decrypt on its key (to rotate: ssm:PutParameter, kms:Encrypt)`,
    })

    // A new version is encrypted with the key of the one before. Otherwise AWS takes the account's default key.
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
        throw malformed(`The parameter is a ${Parameter.Type}. Write it as a SecureString.`)
      },
      async write(Value, signal) {
        const input = { Name, Value, Type: 'SecureString', KeyId: keyId, Overwrite: true }
        await send(new sdk.PutParameterCommand(input), signal)
      },
    }
  }
}
