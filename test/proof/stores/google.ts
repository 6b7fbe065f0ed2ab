import { setTimeout as delay } from 'node:timers/promises'
import type { StoreUnderTest } from './store-under-test.ts'

const address = process.env.TEST_GOOGLE_SECRET_MANAGER ?? ''
// Otherwise the SDK looks for a server of Google Cloud.
process.env.METADATA_SERVER_DETECTION = 'none'

type Call = (request: object, options: object) => Promise<unknown>
type Client = Record<
  'createSecret' | 'addSecretVersion' | `${'disable' | 'enable' | 'destroy'}SecretVersion`,
  Call
>

let client: Client | undefined

async function connect(): Promise<Client> {
  const [sdk, gax] = await Promise.all(
    ['@google-cloud/secret-manager', 'google-gax'].map((name) => import(name)),
  )
  const [apiEndpoint, port] = address.split(':')
  const sslCreds = gax.grpc.credentials.createInsecure()
  const settings = { apiEndpoint, port: Number(port), sslCreds, 'grpc.max_reconnect_backoff_ms': 1_000 }
  return new sdk.SecretManagerServiceClient(settings)
}

// The channel may not have noticed yet that the server is back.
async function call(method: keyof Client, request: object, tries = 10): Promise<void> {
  client ??= await connect()
  await client[method](request, { timeout: 2_500, retry: { retryCodes: [] } }).catch(async (error) => {
    if (error.code !== 14 || tries === 0) throw error
    await delay(300)
    return call(method, request, tries - 1)
  })
}

const parent = 'projects/test'
const version = (name: string, id: string) => ({ name: `${parent}/secrets/${name}/versions/${id}` })
const isThere = (error: { code?: number }) => {
  if (error.code !== 6) throw error
}

export const googleStore: StoreUnderTest = {
  name: 'Google Secret Manager',
  service: 'google',
  running: address !== '',
  environment: { NODE_ENV: 'test', SECRET_MANAGER_EMULATOR_HOST: address },
  reference: (name, field) => `ref+gcpsecrets://test/${name}${field ? `#/${field}` : ''}`,
  async put(name, value) {
    const secret = { replication: { automatic: {} } }
    await call('createSecret', { parent, secretId: name, secret }).catch(isThere)
    await call('addSecretVersion', {
      parent: `${parent}/secrets/${name}`,
      payload: { data: Buffer.from(value) },
    })
  },
  disable: (name, id) => call('disableSecretVersion', version(name, id)),
  enable: (name, id) => call('enableSecretVersion', version(name, id)),
  destroy: (name, id) => call('destroySecretVersion', version(name, id)),
  hasFields: true,
  tellsAbsence: true,
  takes: { binary: true, empty: true, big: true },
}
