import { loadConfig, readSettings } from '../../config/config.ts'
import { ConfigError } from '../../config/config-error.ts'
import { takeEnvironment } from '../../config/environment.ts'
import { createKeyring, type KeyStatus } from '../keyring.ts'
import { type LoadedSecrets, neededSecrets, type SecretName, secretNames } from '../load-secrets.ts'
import type { SecretVersion } from '../sources.ts'
import type { Environment } from '../stores/secret-store.ts'
import { table, timeText } from './table.ts'
import { parseOptions, UsageError } from './usage.ts'

type Settings = ReturnType<typeof readSettings>

/** One version of one secret. Shows nothing of its value. */
interface Row {
  variable: string
  source: string
  version: string
  created: string
  state: string
  result: string
}

/** `secrets check`: reads everything as the server would, and prints the state of each version of each secret. */
export async function checkCommand(args: string[]): Promise<void> {
  const { 'max-age': maxAge } = parseOptions(args, { 'max-age': { type: 'string' } }).values
  const maxAgeMs = maxAge === undefined ? Infinity : durationMs(maxAge)
  const env = takeEnvironment()
  const settings = readSettings(env)
  const loaded = await settings.secrets.load()
  process.stdout.write(table(await rowsOf(settings, loaded)))
  const problems = [
    ...loaded.problems.map(({ name, message }) => `${name}: ${message}`),
    ...tooOld(loaded.versions, maxAgeMs).map(
      (name) => `${name}: is older than ${maxAge}. Rotate it: npm run secrets -- rotate ${name}`,
    ),
    ...(await problemsOfConfig(env, settings)),
  ]
  if (problems.length > 0) throw new ConfigError([...new Set(problems)])
}

const unitMs = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000 }

function durationMs(text: string): number {
  const [, count = '', unit = ''] = /^([1-9]\d{0,8})([dhms])$/.exec(text) ?? []
  if (!count) throw new UsageError('--max-age must be like 90d, 12h, 30m or 45s.')
  return Number(count) * unitMs[unit as keyof typeof unitMs]
}

async function rowsOf(settings: Settings, loaded: LoadedSecrets): Promise<Row[]> {
  const names = neededSecrets(settings.values.JWT_ALGORITHM ?? 'HS256')
  const set = names.filter((name) => !name.endsWith('_PREVIOUS') || settings.texts[name])
  return (await Promise.all(set.map((name) => rowsOfSecret(name, settings, loaded)))).flat()
}

async function rowsOfSecret(name: SecretName, settings: Settings, loaded: LoadedSecrets): Promise<Row[]> {
  const problem = loaded.problems.find((other) => other.name === name)
  const versions = loaded.versions[name]
  const result = problem?.message ?? resultOf(versions)
  if (!versions) {
    const state = problem?.kind === 'unreachable' ? 'not read' : 'not used'
    return [{ variable: name, source: problem?.source ?? '-', version: '-', created: '-', state, result }]
  }
  const source = settings.openSource(settings.texts[name] ?? '')
  const history = await source.history()
  const [newest] = versions
  const only = { id: '', createdAt: newest?.modifiedAt, state: newest ? 'enabled' : 'none' }
  const keys = keysOf(name, versions, settings)
  return (history.length > 0 ? history : [only]).map(({ id, createdAt, state }, index) => {
    const key = keys.find(({ version = '' }) => version === id)
    return {
      variable: index === 0 ? name : '',
      source: index === 0 ? source.label : '',
      version: id || '-',
      created: timeText(createdAt),
      state: key?.state ?? (state === 'enabled' ? 'not used' : state),
      result: index === 0 ? result : '',
    }
  })
}

function resultOf(versions: SecretVersion[] | undefined): string {
  if (!versions) return 'is the same as another secret'
  const [newest] = versions
  if (!newest) return 'none yet (the first rotation creates it)'
  return newest.warning ? `ok. ${newest.warning}` : 'ok'
}

function keysOf(name: SecretName, versions: SecretVersion[], { values }: Settings): KeyStatus[] {
  const isAccess = name.startsWith('JWT_ACCESS')
  const keyring = createKeyring({
    reloadSeconds: values.SECRETS_REFRESH_SECONDS ?? 60,
    tokenSeconds: (isAccess ? values.ACCESS_TOKEN_SECONDS : values.SESSION_IDLE_SECONDS) ?? 0,
    clock: Date.now,
    algorithm: (isAccess && values.JWT_ALGORITHM) || 'HS256',
  })
  if (name.endsWith('_PREVIOUS')) keyring.update([], versions)
  else keyring.update(versions, [])
  return keyring.states()
}

// The age of a file counts from its last change.
function tooOld(versions: LoadedSecrets['versions'], limitMs: number): string[] {
  if (limitMs === Infinity) return []
  const newest = secretNames.flatMap((name) => {
    const [first] = versions[name] ?? []
    return first && !name.endsWith('_PREVIOUS') ? [{ name, madeAt: first.createdAt ?? first.modifiedAt }] : []
  })
  for (const { name, madeAt } of newest)
    if (madeAt === undefined)
      process.stderr.write(`${name}: has an unknown age, because the environment keeps no dates.\n`)
  return newest.filter(({ madeAt }) => Date.now() - (madeAt ?? Infinity) > limitMs).map(({ name }) => name)
}

async function problemsOfConfig(env: Environment, settings: Settings): Promise<readonly string[]> {
  try {
    const { fileWarnings } = await loadConfig(env, { settings })
    for (const warning of fileWarnings) process.stderr.write(`${warning}\n`)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}
