import { codeOf } from '../../errors.ts'
import type { Delay } from '../../retry.ts'
import { SourceError } from '../source-error.ts'

/** A version as its store describes it. A disabled version can be enabled again, a destroyed one cannot. */
export interface StoredVersion {
  id: string
  /** Milliseconds since 1970, by the store's clock. */
  createdAt: number
  state: 'enabled' | 'disabled' | 'destroyed'
}

/**
 * One secret in a store that keeps versions. The value of a version never changes. All functions give up when the signal
 * is aborted. They throw SourceErrors that say what to grant or to run.
 */
export interface SecretStore {
  /** Returns all versions, in any order. */
  list(signal: AbortSignal): Promise<StoredVersion[]>
  /** Returns the value of an enabled version. */
  read(id: string, signal: AbortSignal): Promise<string>
  /** Makes `value` the newest version. Throws if the store knows of a newer version than the list had. */
  write(value: string, signal: AbortSignal): Promise<void>
}

/** Opens the secret at a place, the part of a reference after `ref+SCHEME://`. Does not ask the store yet. */
export interface OpenStore {
  (place: string): SecretStore
  /** Lets the next call log in, even if the store refused the last login a moment ago. */
  retryLogin?(): void
}

/** A kind of store. A reference to a secret in it is `ref+SCHEME://PLACE[#/FIELD]`. */
export interface StoreKind {
  scheme: string
  /** Whether a reference names, after `#/`, a member of the JSON object that is the secret's value. */
  field: 'required' | 'optional' | 'none'
  example: string
  connect(deps: StoreDeps): Promise<OpenStore>
}

/** Returns the error for a reference that does not look like the example of its kind. */
export const wrongReference = ({ example }: Pick<StoreKind, 'example'>) =>
  new SourceError('malformed', `The reference is wrong. Write it like ${example}.`)

/** What every store may need. */
export interface StoreDeps {
  env: Environment
  clock: () => number
  delay: Delay
  importSdk: typeof importSdk
}

/** The environment of the process, completed by `.env`. Contains the addresses and credentials of stores. */
export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Imports a store's SDK, which is installed only if somebody uses the store.
 * @param packages what to install, with the versions that are known to work here
 * @returns the module. The caller declares its type, because the types of the SDK may not be installed
 */
export async function importSdk(name: string, packages = name): Promise<never> {
  try {
    return (await import(name)) as never
  } catch (error) {
    if (!/MODULE_NOT_FOUND/.test(codeOf(error) ?? '')) throw error
    throw new SourceError(
      'sdk_missing',
      `The store needs a package that is not installed. Install it: npm install --save-prod ${packages}`,
    )
  }
}
