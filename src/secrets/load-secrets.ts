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

/** Why a secret is not used: its source could not be read, or it breaks the policy. Never a part of its value. */
export interface SecretProblem {
  name: SecretName
  kind: 'unreachable' | 'refused'
  /** Where the secret was looked for; missing where that is not known. */
  source?: string
  /** Where its source could not be read: why. */
  fault?: SourceFault
  message: string
}

/**
 * What was read in one go: of every secret the versions that may be used, newest first, and every problem. None: there
 * is no such secret, or all its versions were withdrawn. Left out: nothing can be said, so what was there before stays.
 */
export interface LoadedSecrets {
  versions: Partial<Record<SecretName, SecretVersion[]>>
  problems: SecretProblem[]
}

export interface Secrets {
  /** @param retryLogins asks stores again that refused a login a moment ago */
  load(options?: { retryLogins?: boolean }): Promise<LoadedSecrets>
}

/** The variables needed, which is by the algorithm of access tokens: of those shared secrets or private keys. */
export const neededSecrets = (accessAlgorithm: Algorithm): SecretName[] =>
  secretNames.filter((name) =>
    [accessSecretOf(accessAlgorithm), 'JWT_REFRESH_SECRET'].some((needed) => name.startsWith(needed)),
  )

/** The variable that the key for access tokens comes from. */
export const accessSecretOf = (algorithm: Algorithm) =>
  algorithm === 'HS256' ? 'JWT_ACCESS_SECRET' : 'JWT_ACCESS_PRIVATE_KEY'

/**
 * Opens the sources of the secrets that are needed; every load reads them again and judges them together.
 * @param settings by the names of their variables: what each says, the secret or a reference
 */
export function openSecrets(
  settings: { [name in SecretName]?: string | undefined } & { JWT_ALGORITHM?: Algorithm },
  openSource: OpenSource,
): Secrets {
  const accessAlgorithm = settings.JWT_ALGORITHM ?? 'HS256'
  const needed = neededSecrets(accessAlgorithm)

  async function read(name: SecretName): Promise<SecretVersion[]> {
    const text = settings[name]
    if (text !== undefined) return openSource(text).versions()
    throw new SourceError(
      'absent',
      `is required; set it, or ${name}_FILE to the path of a file that holds it`,
    )
  }

  function unread(name: SecretName, error: unknown): SecretProblem {
    const { fault, message } =
      error instanceof SourceError
        ? error
        : new SourceError('unreachable', `cannot be read: unexpected ${(error as Error).name} of its store`)
    // A text that cannot be opened may be a secret with a slip in front of it: it is not shown.
    const source = fault !== 'malformed' && settings[name]?.startsWith('ref+') && { source: settings[name] }
    return { name, kind: 'unreachable', fault, message, ...source }
  }

  return {
    async load({ retryLogins = false } = {}) {
      if (retryLogins) await openSource.retryLogins?.()
      const loaded: LoadedSecrets = { versions: {}, problems: [] }
      const found = new Map<SecretName, SecretVersion[]>()
      const reading = needed.map(async (name) => {
        if (await isNone(name, settings[name])) loaded.versions[name] = []
        else found.set(name, await read(name))
      })
      for (const [index, result] of (await Promise.allSettled(reading)).entries())
        if (result.status === 'rejected') {
          const name = needed[index] as SecretName
          loaded.problems.push(unread(name, result.reason))
          // If the current file is unavailable, a missing previous file means nothing.
          if (!name.endsWith('_PREVIOUS')) delete loaded.versions[`${name}_PREVIOUS` as SecretName]
        }
      for (const name of needed.filter((name) => isRepeated(name, found, settings))) {
        found.delete(name)
        loaded.versions[name] = []
      }
      judge(found, accessAlgorithm, loaded)
      return loaded
    },
  }
}

// There need not be a previous secret. The first rotation creates its file.
async function isNone(name: SecretName, text: string | undefined): Promise<boolean> {
  if (!name.endsWith('_PREVIOUS') || !text) return name.endsWith('_PREVIOUS')
  const path = pathIn(text)
  if (path === undefined) return false
  return access(path).then(
    () => false,
    (error) => codeOf(error) === 'ENOENT',
  )
}

// A rotation writes the old secret to the previous file, and then replaces the current one. In between they are the same.
function isRepeated(
  name: SecretName,
  found: Map<SecretName, SecretVersion[]>,
  texts: { [name in SecretName]?: string | undefined },
): boolean {
  if (!name.endsWith('_PREVIOUS') || pathIn(texts[name]) === undefined) return false
  const [current] = found.get(name.replace(/_PREVIOUS$/, '') as SecretName) ?? []
  return current !== undefined && found.get(name)?.[0]?.value === current.value
}

// A version that breaks the policy is never used, wherever it stands; where it is the newest, that is a problem. A
// secret that serves two purposes stays with the one that had it first; where nobody can tell, neither uses it.
function judge(
  found: Map<SecretName, SecretVersion[]>,
  accessAlgorithm: Algorithm,
  { versions: usable, problems }: LoadedSecrets,
): void {
  const owners = new Map<string, { name: SecretName; since: number }[]>()
  for (const [name, versions] of found)
    for (const [text, since] of new Map(
      versions.map(({ value, createdAt = Infinity }) => [value.trim(), createdAt]),
    ))
      if (text) owners.set(text, [...(owners.get(text) ?? []), { name, since }])

  for (const [name, versions] of found) {
    const isPrivateKey = name.includes('PRIVATE_KEY')
    const good = versions.filter(({ value, problem, source }, index) => {
      const [first, second] = (owners.get(value.trim()) ?? []).sort((a, b) => a.since - b.since)
      const shared =
        first && first.name !== name && `is the same as ${first.name}; every one must be a secret of its own`
      const rule = isPrivateKey ? privateKeyProblem(value, accessAlgorithm) : secretProblem(value)
      const message = problem || shared || rule
      if (message && index === 0) problems.push({ name, kind: 'refused', source, message })
      return !message && first?.since !== second?.since
    })
    if (versions.length === 0)
      problems.push({
        name,
        kind: 'refused',
        fault: 'withdrawn',
        message: `has no version that is enabled; write a new one: npm run secrets -- rotate ${name}`,
      })
    // What a store without a history gave last is still good where what it gives now is not.
    const keepsHistory = versions.every(({ createdAt }) => createdAt !== undefined)
    if (keepsHistory || good.length > 0) usable[name] = good
  }
}
