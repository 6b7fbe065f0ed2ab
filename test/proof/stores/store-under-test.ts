import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** A real store, or an emulator that answers its real SDK. Tests write to it without the code of this project. */
export interface StoreUnderTest {
  name: string
  /** Its name in the script in `TEST_SERVICES`. */
  service: string
  /** Whether its address is set. If not, its suite is skipped. In CI it fails. */
  running: boolean
  /** The settings of a server that uses this store. */
  environment: Record<string, string>
  /** Returns settings with credentials that permit nothing. Missing if an emulator permits everything. */
  deniedEnvironment?(): Promise<Record<string, string>>
  /** The ways to log in with a secret of the server's own. Missing if it has none. */
  logins?: StoreLogin[]
  /** Returns the reference to the secret of this name, or to a field of it. */
  reference(name: string, field?: string): string
  /** Makes a new version, and the secret if there is none yet. If references need a field, puts `value` into `field`. */
  put(name: string, value: string | Uint8Array): Promise<void>
  /** These take ids as the server names them. They are missing if the store has no such state. */
  disable?(name: string, id: string): Promise<void>
  enable?(name: string, id: string): Promise<void>
  destroy?(name: string, id: string): Promise<void>
  /** Whether references can name a field. */
  hasFields: boolean
  /** Whether the store says that a secret is absent. An emulator may fail instead. */
  tellsAbsence: boolean
  /** Whether values can be binary, empty or 1 MB. If not, the store itself refuses them. */
  takes: { binary: boolean; empty: boolean; big: boolean }
}

export interface StoreLogin {
  name: string
  /** Makes a login with this secret. Returns the settings of a server with it, and the variable for the secret. */
  logIn(secret: string): Promise<{ settings: Record<string, string>; variable: string; secret: string }>
}

const run = promisify(execFile)

if (!process.env.TEST_SERVICES) {
  const message = 'Outages are left out, because TEST_SERVICES is not set. See docs/CONTRIBUTING.md.'
  if (process.env.CI) throw new Error(message)
  process.stderr.write(`${message}\n`)
}

/** Stops, freezes and starts the services of a suite. Undefined if the tests may not stop them. */
export const control = process.env.TEST_SERVICES
  ? (command: 'up' | 'freeze' | 'thaw' | 'kill', service: string) =>
      run(String(process.env.TEST_SERVICES), [command, service])
  : undefined
