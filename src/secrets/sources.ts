import { createPlace, type Place, type ReadVersion } from './place.ts'
import { SourceError } from './source-error.ts'
import type { Environment, OpenStore, StoredVersion } from './store.ts'
import { connectParameterStore } from './stores/aws/parameter-store.ts'
import { connectSecretsManager } from './stores/aws/secrets-manager.ts'
import { connectKeyVault } from './stores/azure/azure.ts'
import { readSecretFile } from './stores/file/file.ts'
import { connectGoogle } from './stores/google/google.ts'
import { connectVault } from './stores/vault/vault.ts'

/** One usable version of a secret. */
export interface SecretVersion {
  value: string
  /** Why this version cannot be used; its value is empty then. */
  problem?: string
  /** Where it comes from, as logs and the audit call it. */
  source: string
  /** Both missing where its source keeps no history; the time is in milliseconds since 1970. */
  id?: string
  createdAt?: number
  /** When its file was modified last, in milliseconds since 1970. Only for its age: it says nothing about readers. */
  modifiedAt?: number
  /** What to change about its source, although the version can be used. */
  warning?: string
}

/** Where a secret comes from. All functions throw SourceErrors that say how to fix it. */
export interface SecretSource {
  /** How logs and the audit call it. */
  label: string
  /** The enabled versions, newest first. */
  versions(): Promise<SecretVersion[]>
  /** All versions that made a difference, newest first, as their store tells of them; empty where it keeps no history. */
  history(): Promise<StoredVersion[]>
  /** Makes `value` the newest version, in a store that keeps versions. */
  rotate?(value: string): Promise<void>
}

interface Scheme {
  connect: (env: Environment, clock: () => number) => Promise<OpenStore>
  /** Whether a reference names, after `#/`, a member of the JSON object that is the secret's value. */
  field: 'required' | 'optional' | 'none'
  example: string
}

const schemes = new Map<string, Scheme>([
  ['vault', { connect: connectVault, field: 'required', example: 'ref+vault://MOUNT/PATH#/FIELD' }],
  [
    'awssecrets',
    { connect: connectSecretsManager, field: 'optional', example: 'ref+awssecrets://NAME[#/KEY]' },
  ],
  ['awsssm', { connect: connectParameterStore, field: 'none', example: 'ref+awsssm://PATH' }],
  [
    'gcpsecrets',
    { connect: connectGoogle, field: 'optional', example: 'ref+gcpsecrets://PROJECT/SECRET[#/KEY]' },
  ],
  ['azurekeyvault', { connect: connectKeyVault, field: 'none', example: 'ref+azurekeyvault://VAULT/SECRET' }],
])

/**
 * Opens what the text of a secret variable says: the secret itself, or `ref+SCHEME://PLACE[#/FIELD]`, where it lives
 * (the syntax of helmfile/vals). References to one place share what is read there, and places of one store its login.
 * @returns a function that throws SourceErrors for references that are malformed or of an unknown scheme
 */
export function createSources(env: Environment, clock = () => Date.now()): OpenSource {
  const connections = new Map<string, Promise<OpenStore>>()
  const places = new Map<string, Place>()

  function connection(name: string, { connect }: Scheme): Promise<OpenStore> {
    const connecting = connections.get(name) ?? connect(env, clock)
    connections.set(name, connecting)
    connecting.catch(() => connections.delete(name)) // The next load connects again.
    return connecting
  }

  function openSource(text: string): SecretSource {
    if (!text.startsWith('ref+')) return fixedSource('environment', async () => ({ value: text }))
    const [, name = '', rest = ''] = /^ref\+([a-z0-9]+):\/\/(.+)$/s.exec(text) ?? []
    if (name === 'file' && rest) return fileSource(rest)
    const scheme = schemes.get(name)
    if (!scheme || !rest) {
      const known = ['file', ...schemes.keys()].map((other) => `ref+${other}://`)
      throw new SourceError(
        'malformed',
        `is not a reference this server can read; it reads ${known.join(', ')}`,
      )
    }
    const [, where = '', , field] = /^([^#?\s]+)(#\/([^#?/]+))?$/.exec(rest) ?? []
    const fits = { required: field !== undefined, optional: true, none: field === undefined }[scheme.field]
    if (!where || !fits) throw new SourceError('malformed', `must be like ${scheme.example}`)
    const key = `${name}://${where}`
    const place = places.get(key) ?? createPlace(async () => (await connection(name, scheme))(where))
    places.set(key, place)
    return placeSource(text, place, field)
  }

  async function retryLogins(): Promise<void> {
    for (const result of await Promise.allSettled(connections.values()))
      if (result.status === 'fulfilled') result.value.retryLogin?.()
  }

  return Object.assign(openSource, { retryLogins })
}

/** Opens what the text of a secret variable says. */
export interface OpenSource {
  (text: string): SecretSource
  /** Lets every store log in at the next load, even if it refused a login a moment ago. */
  retryLogins?(): Promise<void>
}

// A source without a history: it has the value it had when it was read last.
function fixedSource(source: string, read: () => Promise<Omit<SecretVersion, 'source'>>): SecretSource {
  return {
    label: source,
    versions: async () => [{ ...(await read()), source }],
    history: async () => [],
  }
}

// Its time stamp must not stage the key: a file moved into place is older than the moment that servers could read it.
function fileSource(path: string): SecretSource {
  if (!path.startsWith('/'))
    throw new SourceError('malformed', 'must name an absolute path, ref+file:///path')
  return fixedSource(`ref+file://${path}`, () => readSecretFile(path))
}

function placeSource(source: string, place: Place, field: string | undefined): SecretSource {
  async function versions(): Promise<SecretVersion[]> {
    const all = (await place.versions()).map((version) => ({ source, ...version, ...pick(version, field) }))
    // Where other fields of the same object were written, this one's secret is as old as it was before.
    return all.filter(({ value }, index) => value === '' || value !== all[index + 1]?.value)
  }

  return {
    label: source,
    versions,
    async history() {
      const [all, read, changes] = await Promise.all([place.history(), place.versions(), versions()])
      const unchanged = read.filter(({ id }) => !changes.some((change) => change.id === id))
      return all.filter(({ id }) => !unchanged.some((version) => version.id === id))
    },
    async rotate(value) {
      const [newest] = await place.versions()
      await place.write(field ? withField(newest, field, value) : value)
    },
  }
}

function pick(version: { value: string; problem?: string }, field: string | undefined) {
  if (field === undefined || version.problem) return {}
  const member = members(version.value)?.[field]
  if (typeof member === 'string') return { value: member }
  const problem = !members(version.value)
    ? 'is no JSON object, of which #/ could name a field; correct the reference'
    : `has no text in its field ${field}; write it, or correct what follows #/`
  return { value: '', problem }
}

function withField(whole: ReadVersion | undefined, field: string, value: string): string {
  const others = whole ? members(whole.value) : {}
  if (others) return JSON.stringify({ ...others, [field]: value })
  const problem = whole?.problem ?? 'is no JSON object, and would be lost; move it away first'
  throw new SourceError('malformed', problem)
}

function members(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return { ...parsed }
  } catch {}
  return undefined
}
