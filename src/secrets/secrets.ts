import { secretProblem } from './policy.ts'
import { openSource, type SecretSource, type SecretVersion, SourceError } from './sources.ts'

/** The variables that hold secrets. The `_PREVIOUS` of each verifies and never signs. */
export const secretNames = [
  'JWT_ACCESS_SECRET',
  'JWT_ACCESS_SECRET_PREVIOUS',
  'JWT_REFRESH_SECRET',
  'JWT_REFRESH_SECRET_PREVIOUS',
] as const
export type SecretName = (typeof secretNames)[number]

/** Why a secret is not used: its source could not be read, or it breaks the policy. Never a part of its value. */
export interface SecretProblem {
  name: SecretName
  kind: 'unreachable' | 'refused'
  message: string
}

/** What was read in one go: the versions of every secret that is set, newest first, and every problem. */
export interface LoadedSecrets {
  versions: Partial<Record<SecretName, SecretVersion[]>>
  problems: SecretProblem[]
}

export interface Secrets {
  load(): Promise<LoadedSecrets>
}

/** Opens the sources of all secrets. Every load reads them again and judges them together. */
export function openSecrets(texts: Record<SecretName, string | undefined>): Secrets {
  const sources = new Map<SecretName, SecretSource>()

  async function read(name: SecretName): Promise<SecretVersion[] | undefined> {
    const text = texts[name]
    if (text === undefined) {
      if (name.endsWith('_PREVIOUS')) return undefined
      throw new SourceError(`is required; set it, or ${name}_FILE to the path of a file that holds it`)
    }
    const source = sources.get(name) ?? openSource(text)
    sources.set(name, source)
    return source.versions()
  }

  return {
    async load() {
      const loaded: LoadedSecrets = { versions: {}, problems: [] }
      for (const name of secretNames) {
        try {
          const versions = await read(name)
          if (versions) loaded.versions[name] = versions
        } catch (error) {
          if (!(error instanceof SourceError)) throw error
          loaded.problems.push({ name, kind: 'unreachable', message: error.message })
        }
      }
      loaded.problems.push(...policyProblems(loaded.versions))
      return loaded
    },
  }
}

function policyProblems(versions: LoadedSecrets['versions']): SecretProblem[] {
  const problems: SecretProblem[] = []
  const owners = new Map<string, SecretName>()
  for (const name of secretNames) {
    const value = versions[name]?.[0]?.value.trim()
    if (value === undefined) continue
    const owner = owners.get(value)
    const message = owner
      ? `is the same as ${owner}; every one must be a secret of its own`
      : secretProblem(value)
    if (message) problems.push({ name, kind: 'refused', message })
    owners.set(value, name)
  }
  return problems
}
