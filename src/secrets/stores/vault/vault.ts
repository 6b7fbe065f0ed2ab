import { readFileSync } from 'node:fs'
import { Agent, fetch } from 'undici'
import { z } from 'zod'
import { codeOf } from '../../../errors.ts'
import { SourceError } from '../../source-error.ts'
import type { Environment, OpenStore, SecretStore, StoreKind } from '../secret-store.ts'
import { createVaultLogin } from './vault-login.ts'

/** What Vault answered; of a body that is no JSON object nothing. */
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

const metadata = z.object({
  versions: z
    .record(
      z.string(),
      z.object({ created_time: z.string(), deletion_time: z.string(), destroyed: z.boolean() }),
    )
    .nullish(),
})
const version = z.object({ data: z.record(z.string(), z.unknown()) })

export interface VaultRequest {
  method: 'GET' | 'POST'
  path: string
  body?: unknown
  token?: string
  signal: AbortSignal
}

export type CallVault = (request: VaultRequest) => Promise<VaultAnswer>

export const vault: StoreKind = {
  scheme: 'vault',
  field: 'required',
  example: 'ref+vault://MOUNT/PATH#/FIELD',
  connect: ({ env, clock }) => connectVault(env, clock),
}

/** HashiCorp Vault and OpenBao, secrets engine KV version 2: `MOUNT/PATH`. */
export async function connectVault(env: Environment, clock: () => number): Promise<OpenStore> {
  const call = createCall(env)
  const login = createVaultLogin(env, call, clock)

  async function ask(request: VaultRequest): Promise<VaultAnswer> {
    const token = await login.token(request.signal)
    const answer = await call({ ...request, token })
    if (answer.status !== 403 || !login.forget(token)) return answer
    return call({ ...request, token: await login.token(request.signal) })
  }

  function open(place: string): SecretStore {
    const [mount = '', ...parts] = place.split('/')
    const path = parts.join('/')
    // Dots would lead out of the mount.
    if (parts.length === 0 || [mount, ...parts].some((part) => /^\.{0,2}$/.test(part)))
      throw new SourceError('malformed', 'must be like ref+vault://MOUNT/PATH#/FIELD')
    const url = (kind: 'data' | 'metadata') => [mount, kind, ...parts].map(encodeURIComponent).join('/')

    function demand<Data>({ status, body }: VaultAnswer, shape: z.ZodType<Data>): Data {
      const data = shape.safeParse(body.data)
      if (status < 300 && data.success) return data.data
      if (status === 403)
        throw new SourceError(
          'denied',
          `was refused by Vault: its policy must grant read on ${mount}/metadata/${path} and ${mount}/data/${path} (update too, to rotate), and its token must be a live one`,
        )
      if (status === 404 && body.data)
        throw new SourceError('withdrawn', 'is a version that was deleted meanwhile')
      if (status === 404)
        throw new SourceError(
          'absent',
          `is not in Vault: bao kv put -mount=${mount} ${path} FIELD=…, on an engine of KV version 2`,
        )
      if (body.errors?.some((error) => /check-and-set/.test(error)))
        throw new SourceError('conflict', 'was written by somebody else meanwhile; look, and run it again')
      const what =
        status < 300 ? 'is no secret of an engine of KV version 2' : `was refused by Vault with ${status}`
      throw new SourceError('malformed', `${what}; correct the reference, or look into Vault's audit log`)
    }

    // The newest by number, which after a change of clocks need not be the newest by date.
    let current = 0

    return {
      async list(signal) {
        const answer = await ask({ method: 'GET', path: url('metadata'), signal })
        const versions = demand(answer, metadata).versions ?? {}
        current = Math.max(0, ...Object.keys(versions).map(Number))
        return Object.entries(versions).map(([id, version]) => ({
          id,
          createdAt: Date.parse(version.created_time),
          state: version.destroyed ? 'destroyed' : isPast(version.deletion_time) ? 'disabled' : 'enabled',
        }))
      },
      async read(id, signal) {
        const path = `${url('data')}?version=${id}`
        const { data } = demand(await ask({ method: 'GET', path, signal }), version)
        return JSON.stringify(data)
      },
      async write(value, signal) {
        const body = { data: JSON.parse(value), options: { cas: current } }
        demand(await ask({ method: 'POST', path: url('data'), body, signal }), z.object())
      },
    }
  }

  return Object.assign(open, { retryLogin: login.retry })
}

// Versions can be given an end in advance: until then, they are good.
const isPast = (time: string) => time !== '' && Date.parse(time) <= Date.now()

function createCall({ VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT }: Environment): CallVault {
  if (!VAULT_ADDR)
    throw new SourceError('malformed', 'is in Vault: set VAULT_ADDR, https://vault.example.com:8200')
  const dispatcher = new Agent(VAULT_CACERT ? { connect: { ca: readCertificates(VAULT_CACERT) } } : {})

  return async function call({ method, path, body, token, signal }) {
    const headers: Record<string, string> = { 'X-Vault-Request': 'true' }
    if (token) headers['X-Vault-Token'] = token
    if (VAULT_NAMESPACE) headers['X-Vault-Namespace'] = VAULT_NAMESPACE
    const init = { method, headers, signal, dispatcher, redirect: 'manual' as const }
    const answer = await fetch(`${VAULT_ADDR.replace(/\/$/, '')}/v1/${path}`, {
      ...init,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
      .then(async (response) => ({ status: response.status, body: asJson(await response.text()) }))
      .catch((error: Error) => {
        const cause = (error.cause ?? error) as Error
        const code = codeOf(cause) ?? cause.name
        throw new SourceError(
          'unreachable',
          `is in Vault, which cannot be reached (${code}); ${remedy(code)}`,
        )
      })
    if (answer.body?.errors?.some((error) => /sealed/.test(error)))
      throw new SourceError('sealed', 'is in Vault, which is sealed: bao operator unseal')
    if (answer.status >= 500 || answer.status === 429)
      throw new SourceError('unreachable', `is in Vault, which answers ${answer.status}; look after it`)
    if (answer.status >= 300 && answer.status < 400)
      throw new SourceError(
        'unreachable',
        `is in Vault, where VAULT_ADDR answers ${answer.status}; set it to the active node`,
      )
    // Of a proxy in front of it, or of another server altogether.
    if (!answer.body)
      throw new SourceError(
        'unreachable',
        `is in Vault, but VAULT_ADDR answers ${answer.status} without JSON; correct it, or look after what answers there`,
      )
    return { status: answer.status, body: answer.body }
  }
}

function remedy(code: string): string {
  if (/ALTNAME/.test(code)) return 'correct VAULT_ADDR: the certificate there is for another name'
  if (/EXPIRED|NOT_YET/.test(code)) return 'renew its certificate'
  if (/CERT|ISSUER|SIGN/.test(code))
    return 'set VAULT_CACERT to the file of the authority that signed its certificate'
  return 'look after it, or correct VAULT_ADDR'
}

function readCertificates(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new SourceError(
      'malformed',
      `is in Vault, but VAULT_CACERT cannot be read (${codeOf(error)}); correct it`,
    )
  }
}

function asJson(text: string): VaultBody | undefined {
  try {
    return vaultBody.safeParse(JSON.parse(text || '{}')).data
  } catch {
    return undefined
  }
}
