import { isUtf8 } from 'node:buffer'
import { createRequire } from 'node:module'
import { absent, denied, malformed, type SourceError, unreachable, withdrawn } from '../../source-error.ts'
import {
  type Environment,
  type OpenStore,
  type StoreDeps,
  type StoredVersion,
  type StoreKind,
  wrongReference,
} from '../secret-store.ts'

// This project declares what it uses of the SDK, because it is installed only if somebody uses this store.
interface Payload {
  data: Uint8Array
  dataCrc32c?: unknown
}
interface Version {
  name: string
  createTime: { seconds: unknown; nanos: number }
  state: string
}
interface Client {
  initialize(): Promise<unknown>
  listSecretVersions(request: { parent: string }, options: object): Promise<[Version[]]>
  accessSecretVersion(request: { name: string }, options: object): Promise<[{ payload: Payload }]>
  addSecretVersion(request: { parent: string; payload: Payload }, options: object): Promise<unknown>
}
interface Sdk {
  SecretManagerServiceClient: new (settings: object) => Client
}
interface Gax {
  grpc: { credentials: { createInsecure(): unknown } }
}

export interface GooglePlace {
  project: string
  secret: string
}

export const google: StoreKind = {
  scheme: 'gcpsecrets',
  field: 'optional',
  example: 'ref+gcpsecrets://PROJECT/SECRET[#/KEY]',
  connect,
}

/** Google Secret Manager: `PROJECT/SECRET`. */
async function connect({ env, importSdk }: StoreDeps): Promise<OpenStore> {
  const install = '@google-cloud/secret-manager@6.3.0'
  const sdk: Sdk = await importSdk('@google-cloud/secret-manager', install)
  // By default, the channel waits for up to two minutes before it tries an unavailable server again.
  const settings = { 'grpc.max_reconnect_backoff_ms': 1_000, ...(await emulator(env)) }
  let client: Client | undefined

  // Logs in before the first call. Otherwise the call starts the login, and a refused login is an unhandled rejection, which
  // ends the process. A client never tries a second login.
  async function loggedIn(): Promise<Client> {
    const candidate = client ?? new sdk.SecretManagerServiceClient(settings)
    client = candidate
    try {
      await candidate.initialize()
      return candidate
    } catch (error) {
      client = undefined
      throw error
    }
  }

  return (text) => {
    const [, project = '', secret = ''] = /^([\w.:-]+)\/([\w-]+)$/.exec(text) ?? []
    if (!secret) throw wrongReference(google)
    const parent = `projects/${project}/secrets/${secret}`

    async function ask<T>(call: (client: Client, options: object) => Promise<T>): Promise<T> {
      try {
        // The SDK takes no signals. This limit ends a call before the signal would. The options are new ones each time, because
        // the SDK writes into them.
        return await call(await loggedIn(), { timeout: 2_500, retry: { retryCodes: [] } })
      } catch (error) {
        throw explainGoogle(error, { project, secret })
      }
    }

    return {
      async list() {
        const [versions] = await ask((client, options) => client.listSecretVersions({ parent }, options))
        return versions.map(described)
      },
      async read(id) {
        const name = `${parent}/versions/${id}`
        const [{ payload }] = await ask((client, options) => client.accessSecretVersion({ name }, options))
        return textIn(payload)
      },
      async write(value) {
        const data = Buffer.from(value)
        const payload = { data, dataCrc32c: crc32c(data) }
        await ask((client, options) => client.addSecretVersion({ parent, payload }, options))
      },
    }
  }
}

// An emulator lets everybody in and speaks no TLS. A stray variable must not lead a production server to one.
async function emulator({ NODE_ENV = 'production', SECRET_MANAGER_EMULATOR_HOST }: Environment) {
  if (!SECRET_MANAGER_EMULATOR_HOST || !['development', 'test'].includes(NODE_ENV)) return {}
  // Look from the SDK, because pnpm and Yarn hide its dependencies from everything else.
  const sdkFile = createRequire(import.meta.url).resolve('@google-cloud/secret-manager')
  const { grpc }: Gax = createRequire(sdkFile)('google-gax')
  const [apiEndpoint, port = 443] = SECRET_MANAGER_EMULATOR_HOST.split(':')
  return { apiEndpoint, port: Number(port), sslCreds: grpc.credentials.createInsecure() }
}

const states = new Map<string, StoredVersion['state']>([
  ['ENABLED', 'enabled'],
  ['DESTROYED', 'destroyed'],
])

const described = ({ name, createTime, state }: Version): StoredVersion => ({
  id: name.slice(name.lastIndexOf('/') + 1),
  createdAt: Number(createTime.seconds) * 1_000 + Math.trunc(createTime.nanos / 1e6),
  state: states.get(state) ?? 'disabled',
})

export function textIn({ data, dataCrc32c }: Payload): string {
  if (dataCrc32c != null && Number(dataCrc32c) !== crc32c(data))
    throw unreachable('The value was damaged on its way from Google (CRC-32C). Read it again.')
  if (!isUtf8(data)) throw malformed('The secret is binary. Write it as text in UTF-8.')
  return Buffer.from(data).toString()
}

/** CRC-32C (Castagnoli) as in RFC 3720, section 12.1; the polynomial is 0x1edc6f41, with its bits reversed here. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of data) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  }
  return ~crc >>> 0
}

/** Translates an error of the SDK. Shows nothing of its text. */
export function explainGoogle(error: unknown, { project, secret }: GooglePlace): SourceError {
  const { code, name, message = '' } = error as { code?: unknown; name?: string; message?: string }
  const where = `${secret} --project=${project}`
  if (isLogin(code, message))
    return denied(
      'Google Secret Manager got no valid credentials. Set GOOGLE_APPLICATION_CREDENTIALS, or grant the workload a service account.',
    )
  if (code === 3) return malformed('Google Secret Manager does not accept the name. Correct PROJECT/SECRET.')
  if (code === 5)
    return absent(
      `The secret is not in Google Secret Manager. Create it: gcloud secrets create ${where} --data-file=- --replication-policy=automatic`,
    )
  if (code === 7 && /SERVICE_DISABLED|has not been used/.test(message))
    return denied(
      `The API is disabled. Enable it: gcloud services enable secretmanager.googleapis.com --project=${project}`,
    )
  if (code === 7)
    return denied(
      `Google refused access. Grant it: gcloud secrets add-iam-policy-binding ${where} --member=… --role=roles/secretmanager.viewer, and roles/secretmanager.secretAccessor (to rotate, also roles/secretmanager.secretVersionAdder)`,
    )
  if (code === 9 && /KMS key|cryptoKeys\//.test(message))
    return denied(`The key of ${secret} in Cloud KMS is disabled. Enable the key.`)
  if (code === 9)
    return withdrawn('The version was disabled or destroyed in the meantime. Read the secret again.')
  return unreachable(
    `Google Secret Manager is unavailable (${code ?? name}). Check the network and the state of Google Cloud.`,
  )
}

// A refused login has code 16. Within a call it has any code, and the text of the token service. Before a call it has no
// code, or a code of the file system.
function isLogin(code: unknown, message: string): boolean {
  const outage = /^E(AI_AGAIN|CONN|NOTFOUND|TIMEDOUT|HOST|NET)/
  if (typeof code !== 'number') return !outage.test(String(code))
  const refusal = /invalid_(grant|client|rapt)|unauthorized_client|retrieve an access token/
  return code === 16 || refusal.test(message)
}
