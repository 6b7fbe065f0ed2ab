import { awsSecretsStore, awsSsmStore } from './aws.ts'
import { azureStore } from './azure.ts'
import { googleStore } from './google.ts'
import type { StoreUnderTest } from './store-under-test.ts'
import { vaultStore } from './vault.ts'

const all: StoreUnderTest[] = [vaultStore, awsSecretsStore, awsSsmStore, googleStore, azureStore]
const missing = all.filter(({ running }) => !running).map(({ name }) => name)
if (missing.length > 0 && process.env.CI)
  throw new Error(`not running: ${missing.join(', ')}; docs/CONTRIBUTING.md says how to start them`)
if (missing.length > 0)
  process.stderr.write(`Left out, as not running: ${missing.join(', ')}; see docs/CONTRIBUTING.md\n`)

/** The stores whose suites can run: all of them, in CI. */
export const stores = all.filter(({ running }) => running)
