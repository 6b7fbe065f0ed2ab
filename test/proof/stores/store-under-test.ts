import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** A real store, or an emulator that answers its real SDK, spoken to in its own words and not through this project. */
export interface StoreUnderTest {
  name: string
  /** What the script in `TEST_SERVICES` calls it. */
  service: string
  /** Whether its address is set; where not, its suite is skipped (in CI: fails). */
  running: boolean
  /** The settings of a server that uses it. */
  environment: Record<string, string>
  /** With other credentials, that may do nothing; missing where an emulator lets everyone do everything. */
  deniedEnvironment?(): Promise<Record<string, string>>
  /** How a secret variable refers to the secret of this name; with a field, to that member of a JSON object. */
  reference(name: string, field?: string): string
  /** Makes a new version, and the secret where there is none yet. Where references need a field, `value` is put in `field`. */
  put(name: string, value: string | Uint8Array): Promise<void>
  /** Ids as the server names them. Missing where the store has no such state. */
  disable?(name: string, id: string): Promise<void>
  enable?(name: string, id: string): Promise<void>
  destroy?(name: string, id: string): Promise<void>
  /** Whether references can name a field. */
  hasFields: boolean
  /** Whether it says so where a secret is absent: an emulator may fall over. */
  tellsAbsence: boolean
  /** Whether values can be binary, empty, 1 MB: where not, the store itself refuses them. */
  takes: { binary: boolean; empty: boolean; big: boolean }
}

const run = promisify(execFile)

if (!process.env.TEST_SERVICES) {
  const message = 'TEST_SERVICES is not set, so outages are left out; see docs/CONTRIBUTING.md'
  if (process.env.CI) throw new Error(message)
  process.stderr.write(`${message}\n`)
}

/** Stops, freezes and starts the services of a suite; undefined where they are not ours to stop. */
export const control = process.env.TEST_SERVICES
  ? (command: 'up' | 'freeze' | 'thaw' | 'kill', service: string) =>
      run(String(process.env.TEST_SERVICES), [command, service])
  : undefined
