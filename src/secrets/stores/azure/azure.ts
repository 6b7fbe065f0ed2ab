import { setTimeout as delay } from 'node:timers/promises'
import { SourceError } from '../../source-error.ts'
import {
  type Environment,
  importSdk,
  type OpenStore,
  type StoredVersion,
  type StoreKind,
} from '../secret-store.ts'

// What is used of the SDKs, which only those have who use this store.
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
  connect: ({ env }) => connectKeyVault(env),
}

/** Azure Key Vault: `VAULT/SECRET`, with a vault's name, its host name or, for others than Azure's own, HOST:PORT. */
export async function connectKeyVault(env: Environment): Promise<OpenStore> {
  const install = '@azure/keyvault-secrets@4.11.2 @azure/identity@4.13.1'
  const secrets: SecretsSdk = await importSdk('@azure/keyvault-secrets', install)
  const identity: IdentitySdk = await importSdk('@azure/identity', install)
  const credential = login(identity, env)
  const clients = new Map<string, Client>()

  function clientOf(host: string): Client {
    const settings = { ...noRetries, disableChallengeResourceVerification: !isAzure(host) }
    const client = clients.get(host) ?? new secrets.SecretClient(`https://${host}`, credential, settings)
    clients.set(host, client)
    return client
  }

  return (text) => {
    const [, vault = '', secret = ''] = /^([\w.-]+(?::\d+)?)\/([0-9A-Za-z-]+)$/.exec(text) ?? []
    if (!secret) throw new SourceError('malformed', 'must be like ref+azurekeyvault://VAULT/SECRET')
    const place = { host: /[.:]/.test(vault) ? vault : `${vault}.vault.azure.net`, secret }
    const client = clientOf(place.host)
    const explained = (error: unknown) => {
      throw explainAzure(error, place)
    }

    return {
      async list(abortSignal) {
        const listed = client.listPropertiesOfSecretVersions(secret, { abortSignal })
        const versions = await collected(listed).catch(explained)
        if (versions.length === 0) throw absent(place)
        return versions.map((version) => described(version))
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

// Calls are repeated by their caller, who knows how long they may take.
const noRetries = { retryOptions: { maxRetries: 0 } }

// The SDK withholds tokens from hosts that are no vaults of the cloud it got them for.
const isAzure = (host: string) =>
  /\.vault\.(azure\.net|azure\.cn|usgovcloudapi\.net|microsoftazure\.de)(:\d+)?$/.test(host)

// An authority other than Microsoft's own is unknown to the service that the SDK would ask about it. The signal of a
// call does not reach a login, which all calls then wait for: one that hangs is left behind.
function login({ DefaultAzureCredential }: IdentitySdk, { AZURE_AUTHORITY_HOST }: Environment): Credential {
  const credential = new DefaultAzureCredential({
    ...noRetries,
    ...(AZURE_AUTHORITY_HOST && { disableInstanceDiscovery: true }),
  })
  const late = async () => {
    await delay(2_500, undefined, { ref: false })
    throw noToken()
  }
  return { getToken: (...request) => Promise.race([credential.getToken(...request), late()]) }
}

async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

function described({ version, createdOn, enabled, expiresOn, notBefore }: Properties): StoredVersion {
  const now = Date.now()
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

/** What an error of the SDKs means; of its text, which is not this project's, nothing is passed on. */
export function explainAzure(error: unknown, place: AzurePlace): SourceError {
  if (error instanceof SourceError) return error
  const { name = '', message = '', code = name, statusCode, details } = error as AzureError
  if (/^(Aggregate)?Authentication|^CredentialUnavailable/.test(name)) return explainLogin(error)
  const reason = details?.error?.innerError?.code ?? ''
  if (statusCode === 400)
    return new SourceError(
      'malformed',
      'was refused by Azure Key Vault; correct its name in the reference, or its value',
    )
  if (statusCode === 401) return refusedLogin('')
  if (statusCode === 403) return explainRefusal(reason, message, place)
  if (statusCode === 404) return absent(place)
  if (statusCode === 409)
    return new SourceError(
      'conflict',
      `is the name of a deleted secret: az keyvault secret recover (or purge) ${options(place)}`,
    )
  return new SourceError(
    'unreachable',
    `is in Azure Key Vault, which cannot be reached (${statusCode ?? code}); look after ${place.host}, or correct its name`,
  )
}

const options = ({ host, secret }: AzurePlace) =>
  `--vault-name ${isAzure(host) ? host.split('.')[0] : '…'} --name ${secret}`

const absent = (place: AzurePlace) =>
  new SourceError('absent', `is not in Azure Key Vault: az keyvault secret set ${options(place)} --file …`)

function explainRefusal(reason: string, message: string, { host, secret }: AzurePlace): SourceError {
  const firewall =
    /^ForbiddenBy(Firewall|Connection)$/.test(reason) || /client address|public network/i.test(message)
  if (firewall)
    return new SourceError(
      'denied',
      `was refused by the firewall of ${host}; grant this server's address or network access`,
    )
  if (/^Secret/.test(reason) || /(a disabled|an expired|not yet valid)/.test(message))
    return new SourceError('withdrawn', 'is a version that was disabled or expired meanwhile')
  return new SourceError(
    'denied',
    `was refused by ${host}: grant the role "Key Vault Secrets User" on ${secret} ("Key Vault Secrets Officer", to rotate), and let the vault's firewall admit this server`,
  )
}

// A chain of credentials fails with the errors of all of them; where one found its service out of reach, this may pass.
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
  new SourceError(
    'unreachable',
    'is in Azure Key Vault, but no service answers that gives tokens for it; look after the network, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET where there is no managed identity',
  )

const refusedLogin = (reason: string) =>
  new SourceError(
    'denied',
    `is in Azure Key Vault, which was given no valid login${reason && ` (${reason})`}; correct AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or grant this server a managed identity`,
  )
