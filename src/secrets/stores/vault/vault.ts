import { z } from 'zod'
import { absent, conflict, denied, malformed, withdrawn } from '../../source-error.ts'
import {
  type OpenStore,
  type SecretStore,
  type StoreDeps,
  type StoredVersion,
  type StoreKind,
  wrongReference,
} from '../secret-store.ts'
import { createVaultCall, type VaultAnswer, type VaultRequest } from './vault-call.ts'
import { createVaultLogin } from './vault-login.ts'

const listedVersion = z.object({
  created_time: z.string(),
  deletion_time: z.string(),
  destroyed: z.boolean(),
})
const metadata = z.object({ versions: z.record(z.string(), listedVersion).nullish() })
const content = z.object({ data: z.record(z.string(), z.unknown()) })

interface Place {
  mount: string
  path: string
}

export const vault: StoreKind = {
  scheme: 'vault',
  field: 'required',
  example: 'ref+vault://MOUNT/PATH#/FIELD',
  connect,
}

/** HashiCorp Vault and OpenBao, secrets engine KV version 2: `MOUNT/PATH`. */
async function connect({ env, clock }: StoreDeps): Promise<OpenStore> {
  const call = await createVaultCall(env)
  const login = createVaultLogin({ env, call, clock })

  // A token may become invalid before it expires. Then log in again, once.
  async function ask(request: VaultRequest): Promise<VaultAnswer> {
    const token = await login.token(request.signal)
    const answer = await call({ ...request, token })
    if (answer.status !== 403 || !login.forget(token)) return answer
    return call({ ...request, token: await login.token(request.signal) })
  }

  function open(text: string): SecretStore {
    const place = parsePlace(text)
    const url = (kind: 'data' | 'metadata') =>
      [place.mount, kind, ...place.path.split('/')].map(encodeURIComponent).join('/')
    // The newest version by number. After the clock was changed, it is not always the newest by date.
    let newest = 0

    return {
      async list(signal) {
        const answer = await ask({ method: 'GET', path: url('metadata'), signal })
        const versions = dataIn(answer, metadata, place).versions ?? {}
        newest = Math.max(0, ...Object.keys(versions).map(Number))
        return Object.entries(versions).map(([id, version]) => ({
          id,
          createdAt: Date.parse(version.created_time),
          state: stateOf(version, clock()),
        }))
      },
      async read(id, signal) {
        const answer = await ask({ method: 'GET', path: `${url('data')}?version=${id}`, signal })
        return JSON.stringify(dataIn(answer, content, place).data)
      },
      async write(value, signal) {
        const body = { data: JSON.parse(value), options: { cas: newest } }
        dataIn(await ask({ method: 'POST', path: url('data'), body, signal }), z.object(), place)
      },
    }
  }

  return Object.assign(open, { retryLogin: login.retry })
}

function parsePlace(text: string): Place {
  const [mount = '', ...path] = text.split('/')
  // Dots would lead out of the mount.
  if (path.length > 0 && ![mount, ...path].some((part) => /^\.{0,2}$/.test(part)))
    return { mount, path: path.join('/') }
  throw wrongReference(vault)
}

// A version may have a date of deletion in the future. It is valid until then.
function stateOf(version: z.output<typeof listedVersion>, now: number): StoredVersion['state'] {
  if (version.destroyed) return 'destroyed'
  const isDeleted = version.deletion_time !== '' && Date.parse(version.deletion_time) <= now
  return isDeleted ? 'disabled' : 'enabled'
}

function dataIn<Data>({ status, body }: VaultAnswer, shape: z.ZodType<Data>, place: Place): Data {
  const data = shape.safeParse(body.data)
  if (status < 300 && data.success) return data.data
  const { mount, path } = place
  if (status < 300)
    throw malformed('The path is not a secret of an engine of KV version 2. Correct the reference.')
  if (status === 403)
    throw denied(
      `Vault refused access. Grant the token's policy read on ${mount}/metadata/${path} and ${mount}/data/${path} (to rotate, also update), or renew the token.`,
    )
  if (status === 404 && body.data)
    throw withdrawn('The version was deleted in the meantime. Read the secret again.')
  if (status === 404)
    throw absent(
      `The secret is not in Vault. Create it, on an engine of KV version 2: bao kv put -mount=${mount} ${path} FIELD=…`,
    )
  if (body.errors?.some((error) => /check-and-set/.test(error)))
    throw conflict(
      'Another process wrote a new version in the meantime. Check that version before you try again.',
    )
  throw malformed(
    `Vault refused the request (${status}). Correct the reference, or look into Vault's audit log.`,
  )
}
