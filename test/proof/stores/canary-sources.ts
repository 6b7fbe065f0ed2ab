import { randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'dotenv'
import { createSources } from '../../../src/secrets/sources.ts'
import { temporaryFolder } from '../../support/server.ts'
import type { Canary } from './canary.ts'
import type { StoreLogin, StoreUnderTest } from './store-under-test.ts'
import { stores } from './stores.ts'

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

/** Every source of this run: the environment, `.env`, files, and each store that is there. */
export const sources: Source[] = [
  environment,
  dotenv,
  files,
  ...stores.flatMap((store) =>
    store.logins ? store.logins.map((login) => withLogin(store, login)) : [fromStore(store)],
  ),
]

/** A store's own credentials are marked too. They are in files, because a process cannot hide its environment. */
function withLogin(store: StoreUnderTest, login: StoreLogin): Source {
  return fromStore({ ...store, name: `${store.name} by ${login.name}` }, async (folder, canary) => {
    const { settings, variable, secret } = await login.logIn(canary.secret())
    return { ...settings, ...giveFile(folder, variable, secret) }
  })
}

function fromStore(
  store: StoreUnderTest,
  credentials: (folder: string, canary: Canary) => Promise<Settings> = async () => store.environment,
): Source {
  return {
    name: store.name,
    algorithm: store.name.endsWith('by token') ? 'ES256' : 'HS256',
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
