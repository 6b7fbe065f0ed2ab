import { randomUUID } from 'node:crypto'
import type { StoreUnderTest } from './store-under-test.ts'

const address = process.env.TEST_VAULT_ADDR ?? ''
const root = process.env.TEST_VAULT_TOKEN ?? ''

/** Sends a request to the running Vault or OpenBao, as root. */
export async function vault(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(`${address}/v1/${path}`, {
    method,
    headers: { 'X-Vault-Token': root },
    body: body === undefined ? null : JSON.stringify(body),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
  return text ? JSON.parse(text) : {}
}

/** Returns a token with only this policy. */
export async function tokenWith(policy: string, settings: Record<string, unknown> = {}): Promise<string> {
  const name = `policy-${randomUUID()}`
  await vault('PUT', `sys/policies/acl/${name}`, { policy })
  const { auth } = await vault('POST', 'auth/token/create', { policies: [name], ...settings })
  return (auth as { client_token: string }).client_token
}

export const vaultStore: StoreUnderTest = {
  name: 'Vault / OpenBao',
  service: 'openbao',
  running: address !== '',
  environment: { VAULT_ADDR: address, VAULT_TOKEN: root },
  deniedEnvironment: async () => ({
    VAULT_ADDR: address,
    VAULT_TOKEN: await tokenWith('path "secret/data/other" { capabilities = ["read"] }'),
  }),
  logins: [
    { name: 'token', logIn: logInByToken },
    { name: 'AppRole', logIn: logInByRole },
  ],
  reference: (name, field = 'value') => `ref+vault://secret/${name}#/${field}`,
  async put(name, value) {
    const data = value instanceof Uint8Array ? { value: [...value] } : asFields(value)
    await vault('POST', `secret/data/${name}`, { data })
  },
  disable: async (name, id) =>
    void (await vault('POST', `secret/delete/${name}`, { versions: [Number(id)] })),
  enable: async (name, id) =>
    void (await vault('POST', `secret/undelete/${name}`, { versions: [Number(id)] })),
  destroy: async (name, id) =>
    void (await vault('PUT', `secret/destroy/${name}`, { versions: [Number(id)] })),
  hasFields: true,
  tellsAbsence: true,
  takes: { binary: true, empty: true, big: true },
}

// A JSON object becomes the fields of the secret. Other values become one field.
const asFields = (value: string) => (value.startsWith('{') ? JSON.parse(value) : { value })

const policy = 'path "secret/*" { capabilities = ["create", "read", "update"] }'

async function logInByToken(id: string) {
  const secret = await tokenWith(policy, { id })
  return { settings: { VAULT_ADDR: address }, variable: 'VAULT_TOKEN', secret }
}

async function logInByRole(secret: string) {
  const role = `role-${randomUUID()}`
  await vault('POST', 'sys/auth/approle', { type: 'approle' }).catch(() => {}) // An earlier run may have made it.
  await vault('PUT', `sys/policies/acl/${role}`, { policy })
  const settings = { token_policies: role, token_ttl: '5s', token_max_ttl: '15s' }
  await vault('POST', `auth/approle/role/${role}`, settings)
  const { data } = await vault('GET', `auth/approle/role/${role}/role-id`)
  await vault('POST', `auth/approle/role/${role}/custom-secret-id`, { secret_id: secret })
  const { role_id } = data as { role_id: string }
  return {
    settings: { VAULT_ADDR: address, VAULT_ROLE_ID: role_id },
    variable: 'VAULT_SECRET_ID',
    secret,
  }
}
