import { awsSecretsStore, awsSsmStore } from './aws.ts'
import { azureStore } from './azure.ts'
import { googleStore } from './google.ts'
import type { StoreUnderTest } from './store-under-test.ts'
import { vaultStore } from './vault.ts'

/** Every store. To remove one, delete its line, its import and its file. */
const all: StoreUnderTest[] = [
  vaultStore, // HashiCorp Vault, OpenBao
  awsSecretsStore, // AWS Secrets Manager
  awsSsmStore, // AWS Parameter Store
  googleStore, // Google Secret Manager
  azureStore, // Azure Key Vault
]
const missing = all.filter(({ running }) => !running).map(({ name }) => name)
if (missing.length > 0 && process.env.CI)
  throw new Error(`Not running: ${missing.join(', ')}. Start them as docs/CONTRIBUTING.md says.`)
if (missing.length > 0)
  process.stderr.write(
    `Left out, because they do not run: ${missing.join(', ')}. See docs/CONTRIBUTING.md.\n`,
  )

/** The stores whose suites can run. In CI, all of them. */
export const stores = all.filter(({ running }) => running)
