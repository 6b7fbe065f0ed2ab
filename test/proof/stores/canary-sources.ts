import { randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'dotenv'
import { createSources } from '../../../src/secrets/sources.ts'
import { temporaryFolder } from '../../support/server.ts'
import type { Canary } from './canary.ts'
import { stores } from './stores.ts'
import { tokenWith, vault, vaultStore } from './vault.ts'

export type Settings = Record<string, string>

/** Where the secrets of a canary run come from, and how that run ends. */
export interface Source {
  name: string
  /** The algorithm of access tokens. */
  algorithm: 'HS256' | 'ES256'
  /** Whether the server uses PostgreSQL, if there is one. Otherwise the run searches its data folder. */
  onPostgres: boolean
  crash: 'exception' | 'out of memory'
  /** Whether a running server notices new secrets. */
  isLive: boolean
  open(folder: Folder, canary: Canary): Promise<OpenedSource>
}

export interface OpenedSource {
  /** What else the server needs, such as an address and credentials. */
  settings?: Settings
  /** Stores a secret. Returns the settings that lead to it. */
  give(variable: string, value: string): Promise<Settings>
  /** Returns the secret that is stored now. */
  current(variable: string): Promise<string>
  /** Makes a secret unavailable. */
  cutOff?(): Promise<void>
}

export interface Folder {
  /** The server's working directory. It contains its data, temporary files and reports. */
  work: string
  /** Files with secrets, outside of the working directory. */
  secrets: string
}

export function makeFolder(): Folder {
  const root = temporaryFolder()
  const folder = { work: join(root, 'work'), secrets: join(root, 'secrets') }
  for (const path of [folder.secrets, join(folder.work, 'tmp'), join(folder.work, 'reports')])
    mkdirSync(path, { recursive: true })
  return folder
}

export const environment: Source = {
  name: 'environment',
  algorithm: 'HS256',
  onPostgres: true,
  crash: 'out of memory',
  isLive: false,
  open: async (_folder, canary) => {
    const given: Settings = {}
    return {
      settings: { VAULT_TOKEN: canary.secret(), VAULT_SECRET_ID: canary.secret() },
      async give(variable, value) {
        given[variable] = value
        return { [variable]: value }
      },
      current: async (variable) => given[variable] ?? '',
    }
  },
}

const dotenv: Source = {
  name: '.env',
  algorithm: 'ES256',
  onPostgres: false,
  crash: 'exception',
  isLive: false,
  open: async ({ work }, canary) => {
    const file = join(work, '.env')
    writeFileSync(file, `# secrets\nVAULT_TOKEN=${canary.secret()}\nVAULT_SECRET_ID=${canary.secret()}\n`)
    return {
      async give(variable, value) {
        writeFileSync(file, `${variable}="${value.replaceAll('\n', '\\n')}"\n`, { flag: 'a' })
        return {}
      },
      current: async (variable) => parse(readFileSync(file))[variable] ?? '',
    }
  },
}

const files: Source = {
  name: 'files',
  algorithm: 'ES256',
  onPostgres: true,
  crash: 'out of memory',
  isLive: true,
  open: async ({ secrets }) => ({
    give: async (variable, value) => giveFile(secrets, variable, value),
    current: async (variable) => readFileSync(join(secrets, variable), 'utf8').trim(),
    cutOff: async () => rmSync(join(secrets, 'JWT_REFRESH_SECRET')),
  }),
}

const vaultPolicy = 'path "secret/*" { capabilities = ["create", "read", "update"] }'

/** Every source of this run: the environment, `.env`, files, and each store that is there. */
export const sources: Source[] = [
  environment,
  dotenv,
  files,
  ...stores.flatMap((store) =>
    store === vaultStore
      ? [vaultWith('token', tokenLogin), vaultWith('AppRole', roleLogin)]
      : fromStore(store),
  ),
]

interface VaultLogin {
  settings: Settings
  variable: string
  secret: string
}

/** Vault's own credentials are marked too. They are in files, because a process cannot hide its environment. */
function vaultWith(name: string, logIn: (canary: Canary) => Promise<VaultLogin>): Source {
  return fromStore({ ...vaultStore, name: `Vault by ${name}` }, async (folder, canary) => {
    const { settings, variable, secret } = await logIn(canary)
    return {
      VAULT_ADDR: vaultStore.environment.VAULT_ADDR ?? '',
      ...settings,
      ...giveFile(folder, variable, secret),
    }
  })
}

async function tokenLogin(canary: Canary): Promise<VaultLogin> {
  const id = canary.secret()
  return { settings: {}, variable: 'VAULT_TOKEN', secret: await tokenWith(vaultPolicy, { id }) }
}

async function roleLogin(canary: Canary): Promise<VaultLogin> {
  const name = `canary-${randomUUID()}`
  await vault('POST', 'sys/auth/approle', { type: 'approle' }).catch(() => {}) // An earlier run may have made it.
  await vault('PUT', `sys/policies/acl/${name}`, { policy: vaultPolicy })
  await vault('POST', `auth/approle/role/${name}`, {
    token_policies: name,
    token_ttl: '5s',
    token_max_ttl: '15s',
  })
  const { data } = await vault('GET', `auth/approle/role/${name}/role-id`)
  const secret = canary.secret()
  await vault('POST', `auth/approle/role/${name}/custom-secret-id`, { secret_id: secret })
  const settings = { VAULT_ROLE_ID: (data as { role_id: string }).role_id }
  return { settings, variable: 'VAULT_SECRET_ID', secret }
}

function fromStore(
  store: (typeof stores)[number],
  credentials: (folder: string, canary: Canary) => Promise<Settings> = async () => store.environment,
): Source {
  return {
    name: store.name,
    algorithm: store.name === 'Vault by token' ? 'ES256' : 'HS256',
    onPostgres: /AppRole|Secrets Manager|Google/.test(store.name),
    crash: 'exception',
    isLive: true,
    async open({ secrets }, canary) {
      const settings = await credentials(secrets, canary)
      const prefix = `canary-${randomUUID()}-`
      const nameOf = (variable: string) => prefix + variable.toLowerCase().replaceAll('_', '-')
      return {
        settings,
        async give(variable, value) {
          await store.put(nameOf(variable), value)
          return { [variable]: store.reference(nameOf(variable)) }
        },
        async current(variable) {
          const source = createSources(store.environment)(store.reference(nameOf(variable)))
          const [newest] = await source.versions()
          return newest?.value ?? ''
        },
      }
    },
  }
}

function giveFile(folder: string, variable: string, value: string): Settings {
  const file = join(folder, variable)
  writeFileSync(`${file}.new`, value)
  renameSync(`${file}.new`, file)
  return { [`${variable}_FILE`]: file }
}
