import { access } from 'node:fs/promises'
import { codeOf } from '../errors.ts'
import type { Algorithm } from './key.ts'
import { privateKeyProblem, secretProblem } from './policy.ts'
import { SourceError, type SourceFault } from './source-error.ts'
import type { OpenSource, SecretVersion } from './sources.ts'
import { pathIn } from './stores/file/file.ts'

/** The variables that hold secrets. The `_PREVIOUS` of each verifies and never signs. */
export const secretNames = [
  'JWT_ACCESS_SECRET',
  'JWT_ACCESS_SECRET_PREVIOUS',
  'JWT_ACCESS_PRIVATE_KEY',
  'JWT_ACCESS_PRIVATE_KEY_PREVIOUS',
  'JWT_REFRESH_SECRET',
  'JWT_REFRESH_SECRET_PREVIOUS',
] as const
export type SecretName = (typeof secretNames)[number]

/** Why a secret is not used. Never contains a part of its value. */
export interface SecretProblem {
  name: SecretName
  /** Its source could not be read, or it breaks the policy. */
  kind: 'unreachable' | 'refused'
  /** Where the secret was looked for. Missing if that is not known. */
  source?: string
  /** Why its source could not be read. */
  fault?: SourceFault
  message: string
}

/** The result of one load. */
export interface LoadedSecrets {
  /**
   * The usable versions of each secret, newest first. Empty if there is no such secret, or no version is enabled. Left
   * out if nothing is known: what was loaded before stays.
   */
  versions: Partial<Record<SecretName, SecretVersion[]>>
  problems: SecretProblem[]
}

/** Returns the variables that are needed, by the algorithm of access tokens. */
export const neededSecrets = (accessAlgorithm: Algorithm): SecretName[] =>
  secretNames.filter((name) =>
    [accessSecretOf(accessAlgorithm), 'JWT_REFRESH_SECRET'].some((needed) => name.startsWith(needed)),
  )

/** Returns the variable of the key for access tokens. */
export const accessSecretOf = (algorithm: Algorithm) =>
  algorithm === 'HS256' ? 'JWT_ACCESS_SECRET' : 'JWT_ACCESS_PRIVATE_KEY'

/** What was found for one variable. A previous secret that does not exist yet is `none`. */
type Found = { name: SecretName } & (
  | { kind: 'versions'; versions: SecretVersion[] }
  | { kind: 'none' }
  | { kind: 'failure'; problem: SecretProblem }
)
type FoundVersions = Extract<Found, { kind: 'versions' }>

/**
 * Opens the secrets that are needed.
 * @param settings the text of each variable: the secret, or a reference to it
 */
export function openSecrets(
  settings: { [name in SecretName]?: string | undefined } & { JWT_ALGORITHM?: Algorithm },
  openSource: OpenSource,
) {
  const algorithm = settings.JWT_ALGORITHM ?? 'HS256'
  const needed = neededSecrets(algorithm)

  async function find(name: SecretName): Promise<Found> {
    const text = settings[name]
    try {
      if (await isNone(name, text)) return { name, kind: 'none' }
      return { name, kind: 'versions', versions: await openSource(text ?? missing(name)).versions() }
    } catch (error) {
      return { name, kind: 'failure', problem: failureOf(name, text, error) }
    }
  }

  return {
    /** Reads and validates all secrets. @param retryLogins asks stores again that refused a login a moment ago */
    async load({ retryLogins = false } = {}): Promise<LoadedSecrets> {
      if (retryLogins) await openSource.retryLogins?.()
      const found = withoutCopies(await Promise.all(needed.map(find)), settings)
      const failed = found.flatMap((each) => (each.kind === 'failure' ? [each.problem] : []))
      const read = found.filter((each) => each.kind === 'versions')
      const { versions, problems } = validate(read, algorithm)
      for (const { name, kind } of found)
        if (kind === 'none' && isCurrentRead(name, failed)) versions[name] = []
      return { versions, problems: [...failed, ...problems] }
    },
  }
}

export type Secrets = ReturnType<typeof openSecrets>

const isPrevious = (name: SecretName) => name.endsWith('_PREVIOUS')
const currentOf = (name: SecretName) => name.replace(/_PREVIOUS$/, '')

// If the current file is unavailable, a missing previous file means nothing: the whole folder may be unavailable.
const isCurrentRead = (name: SecretName, failed: SecretProblem[]) =>
  !failed.some((problem) => problem.name === currentOf(name))

// A previous secret is optional. The first rotation creates its file.
async function isNone(name: SecretName, text: string | undefined): Promise<boolean> {
  if (!isPrevious(name)) return false
  const path = pathIn(text)
  if (path === undefined) return !text
  return access(path).then(
    () => false,
    (error) => codeOf(error) === 'ENOENT',
  )
}

function missing(name: SecretName): never {
  throw new SourceError(
    'absent',
    `is required. Set it, or set ${name}_FILE to the path of a file that contains it.`,
  )
}

function failureOf(name: SecretName, text: string | undefined, error: unknown): SecretProblem {
  const { fault, message } =
    error instanceof SourceError
      ? error
      : new SourceError(
          'unreachable',
          `cannot be read: unexpected ${(error as Error).name} of its store. Check the store and its SDK.`,
        )
  // A text that cannot be opened may be a secret with a slip in front of it. So it is not shown.
  const source = fault !== 'malformed' && text?.startsWith('ref+') && { source: text }
  return { name, kind: 'unreachable', fault, message, ...source }
}

// A rotation first copies the current secret to the previous file, and then replaces it. Until then they are the same.
function withoutCopies(found: Found[], settings: { [name in SecretName]?: string | undefined }): Found[] {
  const newest = (name: string) => {
    const each = found.find((other) => other.name === name)
    return each?.kind === 'versions' ? each.versions[0]?.value : undefined
  }
  return found.map(({ name, ...rest }) => {
    const isCopy =
      isPrevious(name) && pathIn(settings[name]) !== undefined && newest(name) === newest(currentOf(name))
    return isCopy && newest(name) !== undefined ? { name, kind: 'none' } : { name, ...rest }
  })
}

/**
 * Validates all versions by the policy. A version that breaks it is never used, wherever it is in the history. If it is
 * the newest one, that is a problem.
 */
function validate(found: FoundVersions[], algorithm: Algorithm): LoadedSecrets {
  const ownerOf = findOwners(found)
  const usable: LoadedSecrets['versions'] = {}
  const problems: SecretProblem[] = []
  for (const { name, versions } of found) {
    const checked = versions.map((version) => {
      const owner = ownerOf(version)
      const message = version.problem ?? sharedProblem(name, owner) ?? policyProblem(name, version, algorithm)
      return { version, message, isUsable: !message && !owner?.isTie }
    })
    const good = checked.filter(({ isUsable }) => isUsable).map(({ version }) => version)
    const [newest] = checked
    if (!newest) problems.push(noVersion(name))
    else if (newest.message)
      problems.push({ name, kind: 'refused', source: newest.version.source, message: newest.message })
    // If a source without a history has a bad value now, its last good value stays.
    const hasHistory = versions.every(({ createdAt }) => createdAt !== undefined)
    if (hasHistory || good.length > 0) usable[name] = good
  }
  return { versions: usable, problems }
}

function policyProblem(name: SecretName, { value }: SecretVersion, algorithm: Algorithm): string | undefined {
  const isPrivateKey = name.startsWith('JWT_ACCESS_PRIVATE_KEY')
  return isPrivateKey && algorithm !== 'HS256' ? privateKeyProblem(value, algorithm) : secretProblem(value)
}

function sharedProblem(name: SecretName, owner: Owner | undefined): string | undefined {
  if (!owner || owner.name === name) return undefined
  return `is the same as ${owner.name}. Set a different secret for each purpose.`
}

function noVersion(name: SecretName): SecretProblem {
  const message = `has no version that is enabled. Write a new one: npm run secrets -- rotate ${name}`
  return { name, kind: 'refused', fault: 'withdrawn', message }
}

/** The variable that had a value first. In a tie the server cannot tell, and no variable may use the value. */
interface Owner {
  name: SecretName
  isTie: boolean
}

function findOwners(found: FoundVersions[]): (version: SecretVersion) => Owner | undefined {
  const undated = Number.MAX_SAFE_INTEGER
  const claims = found
    .flatMap(({ name, versions }) =>
      versions.map(({ value, createdAt = undated }) => ({ name, value: value.trim(), createdAt })),
    )
    .sort((a, b) => a.createdAt - b.createdAt)

  return ({ value }) => {
    const [first, ...others] = claims.filter((claim) => claim.value === value.trim())
    if (!first || first.value === '') return undefined
    const isTie = others.some(({ name, createdAt }) => name !== first.name && createdAt === first.createdAt)
    return { name: first.name, isTie }
  }
}
