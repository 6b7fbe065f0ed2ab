import { type Delay, limitTime } from '../../../retry.ts'
import {
  absent,
  conflict,
  denied,
  malformed,
  SourceError,
  unreachable,
  withdrawn,
} from '../../source-error.ts'
import {
  type OpenStore,
  type StoreDeps,
  type StoredVersion,
  type StoreKind,
  wrongReference,
} from '../secret-store.ts'

// This project declares what it uses of the SDKs, because they are installed only if somebody uses this store.
interface Credential {
  getToken(...request: unknown[]): Promise<unknown>
}
interface IdentitySdk {
  DefaultAzureCredential: new (settings: object) => Credential
}
interface Properties {
  version: string
  createdOn: Date
  enabled?: boolean
  expiresOn?: Date
  notBefore?: Date
}
interface Call {
  abortSignal: AbortSignal
}
interface Client {
  listPropertiesOfSecretVersions(name: string, call: Call): AsyncIterable<Properties>
  getSecret(name: string, call: Call & { version: string }): Promise<{ value?: string }>
  setSecret(name: string, value: string, call: Call): Promise<unknown>
}
interface SecretsSdk {
  SecretClient: new (url: string, credential: Credential, settings: object) => Client
}

export interface AzurePlace {
  host: string
  secret: string
}

export const keyVault: StoreKind = {
  scheme: 'azurekeyvault',
  field: 'none',
  example: 'ref+azurekeyvault://VAULT/SECRET',
  connect,
}

/** Azure Key Vault: `VAULT/SECRET`. VAULT is the name of a vault, its host name, or HOST:PORT. */
async function connect({ env, clock, delay, importSdk }: StoreDeps): Promise<OpenStore> {
  const install = '@azure/keyvault-secrets@4.11.2 @azure/identity@4.13.1'
  const secrets: SecretsSdk = await importSdk('@azure/keyvault-secrets', install)
  const identity: IdentitySdk = await importSdk('@azure/identity', install)
  const credential = createCredential(identity, env.AZURE_AUTHORITY_HOST, delay)
  const clients = new Map<string, Client>()

  function clientOf(host: string): Client {
    const settings = { ...noRetries, disableChallengeResourceVerification: !isAzure(host) }
    const client = clients.get(host) ?? new secrets.SecretClient(`https://${host}`, credential, settings)
    clients.set(host, client)
    return client
  }

  return (text) => {
    const [, vault = '', secret = ''] = /^([\w.-]+(?::\d+)?)\/([0-9A-Za-z-]+)$/.exec(text) ?? []
    if (!secret) throw wrongReference(keyVault)
    const place = { host: /[.:]/.test(vault) ? vault : `${vault}.vault.azure.net`, secret }
    const client = clientOf(place.host)
    const explained = (error: unknown) => {
      throw explainAzure(error, place)
    }

    return {
      async list(abortSignal) {
        const listed = client.listPropertiesOfSecretVersions(secret, { abortSignal })
        const versions = await collected(listed).catch(explained)
        if (versions.length === 0) throw notThere(place)
        return versions.map((version) => described(version, clock()))
      },
      async read(version, abortSignal) {
        const { value = '' } = await client.getSecret(secret, { version, abortSignal }).catch(explained)
        return value
      },
      async write(value, abortSignal) {
        await client.setSecret(secret, value, { abortSignal }).catch(explained)
      },
    }
  }
}

// Our caller repeats calls, because it knows how long they may take.
const noRetries = { retryOptions: { maxRetries: 0 } }

// The SDK sends tokens only to vaults of the cloud that gave them. Other hosts need its check turned off.
const isAzure = (host: string) =>
  /\.vault\.(azure\.net|azure\.cn|usgovcloudapi\.net|microsoftazure\.de)(:\d+)?$/.test(host)

// The signal of a call does not reach a login, and all calls wait for the login. So a login that hangs is left behind.
const loginMs = 2_500

function createCredential(
  { DefaultAzureCredential }: IdentitySdk,
  authority: string | undefined,
  delay: Delay,
): Credential {
  // The SDK asks a service of Microsoft about the authority. That service knows only Microsoft's own.
  const settings = authority ? { ...noRetries, disableInstanceDiscovery: true } : noRetries
  const credential = new DefaultAzureCredential(settings)
  const onLate = () => {
    throw noToken()
  }
  return {
    getToken: (...request) =>
      limitTime(() => credential.getToken(...request), { ms: loginMs, onLate, delay }),
  }
}

async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

function described(properties: Properties, now: number): StoredVersion {
  const { version, createdOn, enabled, expiresOn, notBefore } = properties
  const isDue = (notBefore?.getTime() ?? now) <= now && now < (expiresOn?.getTime() ?? Infinity)
  return {
    id: version,
    createdAt: createdOn.getTime(),
    state: enabled !== false && isDue ? 'enabled' : 'disabled',
  }
}

interface AzureError {
  name?: string
  message?: string
  code?: string
  errorCode?: string
  statusCode?: number
  details?: { error?: { innerError?: { code?: string } } }
  cause?: unknown
  errors?: unknown[]
}

/** Translates an error of the SDKs. Shows nothing of its text. */
export function explainAzure(error: unknown, place: AzurePlace): SourceError {
  if (error instanceof SourceError) return error
  const { name = '', message = '', code = name, statusCode, details } = error as AzureError
  if (/^(Aggregate)?Authentication|^CredentialUnavailable/.test(name)) return explainLogin(error)
  const reason = details?.error?.innerError?.code ?? ''
  if (statusCode === 400)
    return malformed('Azure Key Vault refused the request. Correct the name of the secret, or its value.')
  if (statusCode === 401) return refusedLogin('')
  if (statusCode === 403) return explainRefusal(reason, message, place)
  if (statusCode === 404) return notThere(place)
  if (statusCode === 409)
    return conflict(
      `A deleted secret has this name. Recover or purge it: az keyvault secret recover (or purge) ${options(place)}`,
    )
  return unreachable(
    `Azure Key Vault is unavailable (${statusCode ?? code}). Check ${place.host}, or correct its name.`,
  )
}

const options = ({ host, secret }: AzurePlace) =>
  `--vault-name ${isAzure(host) ? host.split('.')[0] : '…'} --name ${secret}`

const notThere = (place: AzurePlace) =>
  absent(`The secret is not in Azure Key Vault. Create it: az keyvault secret set ${options(place)} --file …`)

function explainRefusal(reason: string, message: string, { host, secret }: AzurePlace): SourceError {
  const firewall =
    /^ForbiddenBy(Firewall|Connection)$/.test(reason) || /client address|public network/i.test(message)
  if (firewall)
    return denied(`The firewall of ${host} refused access. Grant access to this server's address or network.`)
  if (/^Secret/.test(reason) || /(a disabled|an expired|not yet valid)/.test(message))
    return withdrawn('The version was disabled or expired in the meantime. Read the secret again.')
  return denied(
    `${host} refused access. Grant the role "Key Vault Secrets User" on ${secret} (to rotate, "Key Vault Secrets Officer"), and let the vault's firewall admit this server.`,
  )
}

// A chain of credentials fails with the errors of all of them. If one of them found its service unavailable, the fault may
// pass.
function explainLogin(error: unknown): SourceError {
  const texts = nested(error).map(({ code, errorCode, message }) => `${code} ${errorCode} ${message}`)
  const outage =
    /network_error|network unreachable|endpoints_resolution_error|IMDS endpoint, but it is not available|REQUEST_SEND_ERROR|\bE(AI_AGAIN|CONN|NOTFOUND|TIMEDOUT|HOSTUNREACH|NETUNREACH)|temporarily_unavailable|AADSTS90033/i
  if (outage.test(texts.join('\n'))) return noToken()
  return refusedLogin(/AADSTS\d+/.exec(texts.join('\n'))?.[0] ?? '')
}

function nested(error: unknown): AzureError[] {
  if (typeof error !== 'object' || error === null) return []
  const { cause, errors = [] } = error as AzureError
  return [error, ...[cause, ...errors].flatMap(nested)]
}

const noToken = () =>
  unreachable(
    'No token service for Azure Key Vault answered. Check the network. Without a managed identity, set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.',
  )

const refusedLogin = (reason: string) =>
  denied(
    `Azure refused the login${reason && ` (${reason})`}. Correct AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or grant this server a managed identity.`,
  )
