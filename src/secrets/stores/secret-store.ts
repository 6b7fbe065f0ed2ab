import { codeOf } from '../../errors.ts'
import type { Delay } from '../../retry.ts'
import { SourceError } from '../source-error.ts'

/** What a store tells of a version: disabled ones may come back, destroyed ones may not. */
export interface StoredVersion {
  id: string
  /** Milliseconds since 1970, by the store's clock. */
  createdAt: number
  state: 'enabled' | 'disabled' | 'destroyed'
}

/**
 * One secret in a store that keeps versions. A version's value never changes. All functions give up when the signal
 * is aborted, and throw SourceErrors that say what to grant or to run.
 */
export interface SecretStore {
  /** All versions, in any order. */
  list(signal: AbortSignal): Promise<StoredVersion[]>
  /** The value of an enabled version. */
  read(id: string, signal: AbortSignal): Promise<string>
  /** Makes `value` the newest version. Where the store can tell, it refuses if there is one that was not listed yet. */
  write(value: string, signal: AbortSignal): Promise<void>
}

/** Opens the secret that the part of a reference after `ref+SCHEME://` names, without asking the store yet. */
export interface OpenStore {
  (place: string): SecretStore
  /** Lets the next call log in, even if the last login was refused a moment ago. */
  retryLogin?(): void
}

/** A kind of store, as references to it are written: `ref+SCHEME://PLACE[#/FIELD]`. */
export interface StoreKind {
  scheme: string
  /** Whether a reference names, after `#/`, a member of the JSON object that is the secret's value. */
  field: 'required' | 'optional' | 'none'
  example: string
  connect(deps: StoreDeps): Promise<OpenStore>
}

export interface StoreDeps {
  env: Environment
  clock: () => number
  delay: Delay
  importSdk: typeof importSdk
}

/** The environment of the process, completed by `.env`: where addresses and credentials of stores are found. */
export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Imports a store's SDK, which only those have who use the store.
 * @param packages with the versions that are known to work here
 * @returns the module, as whatever the caller declares of it: its own types are not there to be imported
 */
export async function importSdk(name: string, packages = name): Promise<never> {
  try {
    return (await import(name)) as never
  } catch (error) {
    if (!/MODULE_NOT_FOUND/.test(codeOf(error) ?? '')) throw error
    throw new SourceError(
      'sdk_missing',
      `needs a package that is not installed: npm install --save-prod ${packages}`,
    )
  }
}
