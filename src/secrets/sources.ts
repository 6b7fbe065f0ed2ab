import { type Delay, delay as realDelay } from '../retry.ts'
import { SourceError } from './source-error.ts'
import { createStoredSecret, type ReadVersion, type StoredSecret } from './stored-secret.ts'
import { parameterStore } from './stores/aws/parameter-store.ts'
import { secretsManager } from './stores/aws/secrets-manager.ts'
import { keyVault } from './stores/azure/azure.ts'
import { readSecretFile } from './stores/file/file.ts'
import { google } from './stores/google/google.ts'
import {
  type Environment,
  importSdk,
  type OpenStore,
  type StoredVersion,
  type StoreKind,
  wrongReference,
} from './stores/secret-store.ts'
import { vault } from './stores/vault/vault.ts'

/** The kinds of store that references can name. To remove one, delete its line, its import and its folder. */
export const storeKinds: StoreKind[] = [
  vault, // HashiCorp Vault, OpenBao
  secretsManager, // AWS Secrets Manager
  parameterStore, // AWS Parameter Store
  google, // Google Secret Manager
  keyVault, // Azure Key Vault
]

/** One version of a secret. */
export interface SecretVersion {
  value: string
  /** Why this version cannot be used. Its value is empty then. */
  problem?: string
  /** The name of its source in logs and in the audit. */
  source: string
  /** The id and the creation time (milliseconds since 1970). Both are missing if the source keeps no history. */
  id?: string
  createdAt?: number
  /** When its file was modified last, in milliseconds since 1970. Says nothing about when servers could read it. */
  modifiedAt?: number
  /** What to change about the source, although the version can be used. */
  warning?: string
}

/** Where a secret comes from. All functions throw SourceErrors that say how to fix the problem. */
export interface SecretSource {
  /** The name of this source in logs and in the audit. */
  label: string
  /** Returns the enabled versions, newest first. */
  versions(): Promise<SecretVersion[]>
  /** Returns all versions that changed the secret, newest first. Empty if the source keeps no history. */
  history(): Promise<StoredVersion[]>
  /** Makes `value` the newest version. Missing if the source keeps no history. */
  rotate?(value: string): Promise<void>
}

/** Opens the source that the text of a secret variable names. */
export interface OpenSource {
  (text: string): SecretSource
  /** Lets every store log in at the next load, even if it refused a login a moment ago. */
  retryLogins?(): Promise<void>
}

/**
 * Returns a function that opens what the text of a secret variable says: the secret itself, or where it is, as
 * `ref+SCHEME://PLACE[#/FIELD]` (the syntax of helmfile/vals). References to one secret share what is read, and the
 * secrets of one store share its login. The function throws SourceErrors for references that it cannot read.
 */
export function createSources(
  env: Environment,
  {
    clock = () => Date.now(),
    delay = realDelay,
    random = Math.random,
    kinds = storeKinds,
  }: { clock?: () => number; delay?: Delay; random?: () => number; kinds?: StoreKind[] } = {},
): OpenSource {
  const connections = new Map<string, Promise<OpenStore>>()
  const secrets = new Map<string, StoredSecret>()

  function connection(kind: StoreKind): Promise<OpenStore> {
    const connecting = connections.get(kind.scheme) ?? kind.connect({ env, clock, delay, importSdk })
    connections.set(kind.scheme, connecting)
    connecting.catch(() => connections.delete(kind.scheme)) // The next load connects again.
    return connecting
  }

  function storedSecret(kind: StoreKind, place: string): StoredSecret {
    const key = `${kind.scheme}://${place}`
    const open = async () => (await connection(kind))(place)
    const secret = secrets.get(key) ?? createStoredSecret({ open, delay, random })
    secrets.set(key, secret)
    return secret
  }

  function openSource(text: string): SecretSource {
    if (!text.startsWith('ref+')) return fixedSource('environment', async () => ({ value: text }))
    const [, scheme, rest = ''] = /^ref\+([a-z0-9]+):\/\/(.+)$/s.exec(text) ?? []
    if (scheme === 'file') return fileSource(rest)
    const kind = kinds.find((kind) => kind.scheme === scheme)
    if (!kind) throw new SourceError('malformed', unknownScheme(kinds))
    const [, place = '', field] = /^([^#?\s]+)(?:#\/([^#?/]+))?$/.exec(rest) ?? []
    const fits = { required: field !== undefined, optional: true, none: field === undefined }[kind.field]
    if (!place || !fits) throw wrongReference(kind)
    return storeSource(text, storedSecret(kind, place), field)
  }

  async function retryLogins(): Promise<void> {
    for (const result of await Promise.allSettled(connections.values()))
      if (result.status === 'fulfilled') result.value.retryLogin?.()
  }

  return Object.assign(openSource, { retryLogins })
}

function unknownScheme(kinds: StoreKind[]): string {
  const known = ['file', ...kinds.map(({ scheme }) => scheme)].map((scheme) => `ref+${scheme}://`)
  return `is not a reference that this server can read. Use one of ${known.join(', ')}.`
}

/** A source without a history has one version: the value of the last read. */
function fixedSource(source: string, read: () => Promise<Omit<SecretVersion, 'source'>>): SecretSource {
  return {
    label: source,
    versions: async () => [{ ...(await read()), source }],
    history: async () => [],
  }
}

// The time stamp of a file is not its `createdAt`: a file moved into place is older than its arrival.
function fileSource(path: string): SecretSource {
  if (!path.startsWith('/'))
    throw new SourceError('malformed', 'The path is not absolute. Write it like ref+file:///path.')
  return fixedSource(`ref+file://${path}`, () => readSecretFile(path))
}

function storeSource(source: string, secret: StoredSecret, field: string | undefined): SecretSource {
  async function versions(): Promise<SecretVersion[]> {
    const all = (await secret.versions()).map((version) => ({ source, ...version, ...pick(version, field) }))
    // A version that changed other fields only does not change the age of this field.
    return all.filter(({ value }, index) => value === '' || value !== all[index + 1]?.value)
  }

  return {
    label: source,
    versions,
    async history() {
      const [all, read, changes] = await Promise.all([secret.history(), secret.versions(), versions()])
      const unchanged = read.filter(({ id }) => !changes.some((change) => change.id === id))
      return all.filter(({ id }) => !unchanged.some((version) => version.id === id))
    },
    async rotate(value) {
      const [newest] = await secret.versions()
      await secret.write(field ? withField(newest, field, value) : value)
    },
  }
}

function pick(version: { value: string; problem?: string }, field: string | undefined) {
  if (field === undefined || version.problem) return {}
  const member = members(version.value)?.[field]
  if (typeof member === 'string') return { value: member }
  const problem = members(version.value)
    ? `has no text in its field ${field}. Write the field, or correct what follows #/ in the reference.`
    : 'is not a JSON object, so #/ cannot name a field of it. Correct the reference.'
  return { value: '', problem }
}

function withField(whole: ReadVersion | undefined, field: string, value: string): string {
  const others = whole ? members(whole.value) : {}
  if (others) return JSON.stringify({ ...others, [field]: value })
  const problem =
    whole?.problem ??
    'is not a JSON object. Writing a field would overwrite the whole value. Move the value to another place first.'
  throw new SourceError('malformed', problem)
}

function members(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return { ...parsed }
  } catch {}
  return undefined
}
