import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { codeOf } from '../../../errors.ts'
import { malformed, SourceError, unreachable } from '../../source-error.ts'
import type { Environment } from '../secret-store.ts'

export interface VaultRequest {
  method: 'GET' | 'POST'
  path: string
  body?: unknown
  token?: string
  signal: AbortSignal
}

/** An answer of Vault, which may be a refusal. */
export interface VaultAnswer {
  status: number
  body: VaultBody
}

const vaultBody = z.object({
  errors: z.array(z.string()).optional(),
  auth: z.object({ client_token: z.string(), lease_duration: z.number(), renewable: z.boolean() }).nullish(),
  data: z.record(z.string(), z.unknown()).nullish(),
})
export type VaultBody = z.output<typeof vaultBody>

export type CallVault = (request: VaultRequest) => Promise<VaultAnswer>

/**
 * Returns a function that sends one request to Vault. It throws a SourceError if Vault did not answer, or answered
 * that it cannot work now.
 */
export async function createVaultCall(env: Environment): Promise<CallVault> {
  const { VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT } = env
  if (!VAULT_ADDR)
    throw malformed('Vault needs an address. Set VAULT_ADDR, such as https://vault.example.com:8200.')
  // Imported here, because only servers that use Vault need it.
  const { Agent, fetch } = await import('undici')
  const base = `${VAULT_ADDR.replace(/\/$/, '')}/v1/`
  const dispatcher = new Agent(VAULT_CACERT ? { connect: { ca: readCertificates(VAULT_CACERT) } } : {})

  async function send({ method, path, body, token, signal }: VaultRequest) {
    const headers: Record<string, string> = { 'X-Vault-Request': 'true' }
    if (token) headers['X-Vault-Token'] = token
    if (VAULT_NAMESPACE) headers['X-Vault-Namespace'] = VAULT_NAMESPACE
    const content = body === undefined ? {} : { body: JSON.stringify(body) }
    try {
      // A redirect is not followed, because it would take the token to another server.
      const init = { method, headers, ...content, signal, dispatcher, redirect: 'manual' as const }
      const response = await fetch(base + path, init)
      return { status: response.status, body: parseBody(await response.text()) }
    } catch (error) {
      throw unavailable(error as Error)
    }
  }

  return async (request) => {
    const { status, body } = await send(request)
    if (body?.errors?.some((error) => /sealed/.test(error)))
      throw new SourceError('sealed', 'Vault is sealed. Unseal it: bao operator unseal')
    if (status >= 500 || status === 429) throw unreachable(`Vault answered ${status}. Check Vault.`)
    if (status >= 300 && status < 400)
      throw unreachable(`VAULT_ADDR answered with a redirect (${status}). Set VAULT_ADDR to the active node.`)
    // A proxy in front of Vault answers in this way, and so does a server that is not Vault.
    if (!body)
      throw unreachable(
        `VAULT_ADDR answered ${status} without JSON. Correct VAULT_ADDR, or check the server there.`,
      )
    return { status, body }
  }
}

function unavailable(error: Error): SourceError {
  const cause = (error.cause ?? error) as Error
  const code = codeOf(cause) ?? cause.name
  return unreachable(`Vault is unavailable (${code}). ${remedy(code)}`)
}

function remedy(code: string): string {
  if (/ALTNAME/.test(code)) return 'Correct VAULT_ADDR: the certificate there is for another name.'
  if (/EXPIRED|NOT_YET/.test(code)) return 'Renew its certificate.'
  if (/CERT|ISSUER|SIGN/.test(code))
    return 'Set VAULT_CACERT to the file of the authority that signed its certificate.'
  return 'Check Vault, or correct VAULT_ADDR.'
}

function readCertificates(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw malformed(`VAULT_CACERT cannot be read (${codeOf(error)}). Correct its path or its permissions.`)
  }
}

function parseBody(text: string): VaultBody | undefined {
  try {
    return vaultBody.safeParse(JSON.parse(text || '{}')).data
  } catch {
    return undefined
  }
}
