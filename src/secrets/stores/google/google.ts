import { isUtf8 } from 'node:buffer'
import { createRequire } from 'node:module'
import { SourceError, type SourceFault } from '../../source-error.ts'
import {
  type Environment,
  importSdk,
  type OpenStore,
  type StoredVersion,
  type StoreKind,
} from '../secret-store.ts'

// What is used of the SDK, which only those have who use this store.
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
  connect: ({ env }) => connectGoogle(env),
}

/** Google Secret Manager: `PROJECT/SECRET`. */
export async function connectGoogle(env: Environment): Promise<OpenStore> {
  const install = '@google-cloud/secret-manager@6.3.0'
  const sdk: Sdk = await importSdk('@google-cloud/secret-manager', install)
  // By default, the channel tries an absent server again after up to two minutes only.
  const settings = { 'grpc.max_reconnect_backoff_ms': 1_000, ...(await emulator(env)) }
  let client: Client | undefined

  // Where a client's own methods start its login, one that fails is an unhandled rejection, which ends the process;
  // and the client never tries another.
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
    if (!secret) throw new SourceError('malformed', 'must be like ref+gcpsecrets://PROJECT/SECRET[#/KEY]')
    const parent = `projects/${project}/secrets/${secret}`

    async function ask<T>(call: (client: Client, options: object) => Promise<T>): Promise<T> {
      try {
        // The SDK writes into the options. It knows no signals, and gives up by itself before they come.
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

// It lets everybody in and speaks no TLS, so a production server must not be led to one by a stray variable.
async function emulator({ NODE_ENV = 'production', SECRET_MANAGER_EMULATOR_HOST }: Environment) {
  if (!SECRET_MANAGER_EMULATOR_HOST || !['development', 'test'].includes(NODE_ENV)) return {}
  // A dependency of the SDK's, which pnpm and Yarn hide from everything but the SDK. So look from there.
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
    throw new SourceError('unreachable', 'was damaged on its way from Google (CRC-32C); it is read again')
  if (!isUtf8(data)) throw new SourceError('malformed', 'is binary; write it as text in UTF-8')
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

/** What an error of the SDK means; of its text, which is not this project's, nothing is passed on. */
export function explainGoogle(error: unknown, place: GooglePlace): SourceError {
  const { code, name, message = '' } = error as { code?: unknown; name?: string; message?: string }
  if (isLogin(code, message))
    return new SourceError(
      'denied',
      'is in Google Secret Manager, where credentials are missing or refused: set GOOGLE_APPLICATION_CREDENTIALS, or grant the workload a service account',
    )
  const [fault, text] = explanation(code, message, place)
  return new SourceError(
    fault,
    text ??
      `is in Google Secret Manager, which cannot be reached (${code ?? name}); look after it, and after the network`,
  )
}

// A login fails with code 16, within a call with whatever code the text of the token service is given, and before any
// call with an error of no code or of the file system's.
function isLogin(code: unknown, message: string): boolean {
  const outage = /^E(AI_AGAIN|CONN|NOTFOUND|TIMEDOUT|HOST|NET)/
  if (typeof code !== 'number') return !outage.test(String(code))
  return (
    code === 16 || /invalid_(grant|client|rapt)|unauthorized_client|retrieve an access token/.test(message)
  )
}

function explanation(
  code: unknown,
  message: string,
  { project, secret }: GooglePlace,
): [SourceFault, string?] {
  const where = `${secret} --project=${project}`
  if (code === 3) return ['malformed', 'is no name Google Secret Manager accepts; correct PROJECT/SECRET']
  if (code === 5)
    return [
      'absent',
      `is not in Google Secret Manager: gcloud secrets create ${where} --data-file=- --replication-policy=automatic`,
    ]
  if (code === 7 && /SERVICE_DISABLED|has not been used/.test(message))
    return [
      'denied',
      `was refused by Google: gcloud services enable secretmanager.googleapis.com --project=${project}`,
    ]
  if (code === 7)
    return [
      'denied',
      `was refused by Google: gcloud secrets add-iam-policy-binding ${where} --member=… --role=roles/secretmanager.viewer, and roles/secretmanager.secretAccessor (roles/secretmanager.secretVersionAdder too, to rotate)`,
    ]
  if (code === 9 && /KMS key|cryptoKeys\//.test(message))
    return ['denied', `was refused by Google: enable the key in Cloud KMS that ${secret} is encrypted with`]
  if (code === 9) return ['withdrawn', 'is a version that was disabled or destroyed meanwhile']
  return ['unreachable']
}
