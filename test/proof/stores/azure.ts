import { afterEach } from '@jest/globals'
import type { StoreUnderTest } from './store-under-test.ts'

const vault = process.env.TEST_AZURE_KEY_VAULT ?? ''

// The SDK reads the environment of the process by itself.
const managedIdentity = {
  IDENTITY_ENDPOINT: process.env.TEST_AZURE_IDENTITY_ENDPOINT ?? '',
  IDENTITY_HEADER: process.env.TEST_AZURE_IDENTITY_HEADER ?? '',
}
const wrongCredentials = {
  AZURE_TENANT_ID: process.env.TEST_AZURE_TENANT_ID ?? '',
  AZURE_CLIENT_ID: process.env.TEST_AZURE_CLIENT_ID ?? '',
  AZURE_CLIENT_SECRET: 'wrong',
  AZURE_AUTHORITY_HOST: process.env.TEST_AZURE_AUTHORITY_HOST ?? '',
}
if (vault) Object.assign(process.env, managedIdentity)
afterEach(() => {
  for (const name of Object.keys(wrongCredentials)) delete process.env[name]
})

let token: Promise<string> | undefined

async function logIn(): Promise<string> {
  const { IDENTITY_ENDPOINT, IDENTITY_HEADER } = managedIdentity
  const response = await fetch(
    `${IDENTITY_ENDPOINT}?api-version=2019-08-01&resource=https://vault.azure.net`,
    {
      headers: { 'X-IDENTITY-HEADER': IDENTITY_HEADER },
    },
  )
  return ((await response.json()) as { access_token: string }).access_token
}

async function call(method: 'PUT' | 'PATCH', path: string, body: object): Promise<void> {
  token ??= logIn()
  const response = await fetch(`https://${vault}/secrets/${path}?api-version=7.6`, {
    method,
    headers: { authorization: `Bearer ${await token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
}

const enable = (name: string, id: string, enabled: boolean) =>
  call('PATCH', `${name}/${id}`, { attributes: { enabled } })

export const azureStore: StoreUnderTest = {
  name: 'Azure Key Vault',
  service: 'azure',
  running: vault !== '',
  environment: managedIdentity,
  async deniedEnvironment() {
    Object.assign(process.env, wrongCredentials)
    return wrongCredentials
  },
  reference: (name) => `ref+azurekeyvault://${vault}/${name}`,
  put: (name, value) => call('PUT', name, { value: String(value) }),
  disable: (name, id) => enable(name, id, false),
  enable: (name, id) => enable(name, id, true),
  hasFields: false,
  tellsAbsence: true,
  takes: { binary: false, empty: false, big: true },
}
