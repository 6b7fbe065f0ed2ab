import { importSdk } from '../../../src/secrets/stores/secret-store.ts'
import type { StoreUnderTest } from './store-under-test.ts'

const endpoint = process.env.TEST_AWS_ENDPOINT_URL ?? ''

/** The settings of the AWS SDKs, which read the environment of the process by themselves. */
export const awsEnvironment = {
  AWS_ENDPOINT_URL: endpoint,
  AWS_REGION: 'us-east-1',
  AWS_ACCESS_KEY_ID: 'test',
  AWS_SECRET_ACCESS_KEY: 'test',
}
if (endpoint) Object.assign(process.env, awsEnvironment)

const service = { service: 'aws', running: endpoint !== '', environment: awsEnvironment }
type Sdk<Name extends string> = Record<
  Name,
  new (
    input: object,
  ) => { send(command: unknown): Promise<unknown> }
>
const {
  SecretsManagerClient,
  CreateSecretCommand,
  PutSecretValueCommand,
}: Sdk<'SecretsManagerClient' | 'CreateSecretCommand' | 'PutSecretValueCommand'> = await importSdk(
  '@aws-sdk/client-secrets-manager',
)
const { SSMClient, PutParameterCommand }: Sdk<'SSMClient' | 'PutParameterCommand'> =
  await importSdk('@aws-sdk/client-ssm')
const secrets = new SecretsManagerClient({})
const parameters = new SSMClient({})

export const awsSecretsStore: StoreUnderTest = {
  ...service,
  name: 'AWS Secrets Manager',
  reference: (name, field) => `ref+awssecrets://${name}${field ? `#/${field}` : ''}`,
  async put(name, value) {
    const content = typeof value === 'string' ? { SecretString: value } : { SecretBinary: value }
    const created = secrets.send(new CreateSecretCommand({ Name: name, ...content }))
    await created.catch((error: Error) => {
      if (error.name !== 'ResourceExistsException') throw error
      return secrets.send(new PutSecretValueCommand({ SecretId: name, ...content }))
    })
  },
  hasFields: true,
  tellsAbsence: false, // AWS answers ResourceNotFoundException. This emulator answers 500.
  takes: { binary: true, empty: false, big: false },
}

export const awsSsmStore: StoreUnderTest = {
  ...service,
  name: 'AWS Parameter Store',
  reference: (name) => `ref+awsssm://${name}`,
  async put(name, value) {
    const input = { Name: `/${name}`, Value: String(value), Type: 'SecureString', Overwrite: true } as const
    await parameters.send(new PutParameterCommand(input))
  },
  hasFields: false,
  tellsAbsence: true,
  takes: { binary: false, empty: false, big: false },
}
