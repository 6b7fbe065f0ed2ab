import { z } from 'zod'
import { type Delay, delay as realDelay } from '../retry.ts'
import { openSecrets, type SecretProblem, type Secrets } from '../secrets/load-secrets.ts'
import { isOutage, SourceError, type SourceFault } from '../secrets/source-error.ts'
import { createSources, type OpenSource } from '../secrets/sources.ts'
import { pathIn, writableByAll } from '../secrets/stores/file/file.ts'
import type { Environment } from '../secrets/stores/secret-store.ts'
import { ConfigError } from './config-error.ts'
import { readTexts } from './environment.ts'
import { brokenRules } from './rules.ts'
import { type FeatureSettings, type Settings, type SettingsOfFeatures, settings } from './settings.ts'

const startMs = 15_000
const pauseMs = 500

type Features = readonly FeatureSettings[]
type Texts = Record<string, string | undefined>

/** A value that could not be read, or, without `fault`, is wrong. */
interface Unread {
  name: string
  fault?: SourceFault
  message: string
}

interface Time {
  /** Returns milliseconds. */
  clock: () => number
  delay: Delay
}

/**
 * Reads the settings of `env`, and no secrets yet.
 * @param features whose own settings to read too
 * @returns `values` and `ofFeatures`: the settings that are valid; `problems` of the others; `texts`: what the variables say
 */
export function readSettings<const F extends Features = []>(env: Environment, features?: F) {
  const own = (features ?? []).map(({ name, settings = {} }) => ({ name, settings }))
  const names = namesOf(own)
  const { texts, problems } = readTexts(env, names)
  const core = parseEach(settings.shape, texts)
  const values = core.values as Settings
  const parsed = own.map(({ name, settings }) => ({ name, ...parseEach(settings, texts) }))
  const openSource = createSources({ ...env, ...texts })
  return {
    values,
    ofFeatures: Object.fromEntries(parsed.map(({ name, values }) => [name, values])) as SettingsOfFeatures<F>,
    problems: [
      ...problems,
      ...[core, ...parsed].flatMap(({ problems }) => problems),
      ...brokenRules(values, { ...env, ...texts }),
    ],
    texts,
    openSource,
    secrets: openSecrets(values, openSource),
  }
}

/**
 * Loads the configuration: settings, then secrets. Everything in it is checked, grouped and frozen.
 * @param settings the result of `readSettings`, if there is one already
 * @throws ConfigError with every problem at once; another Error if the only problem is that stores are unavailable or
 * refuse
 */
export async function loadConfig<const F extends Features = []>(
  env: Environment,
  {
    features,
    settings = readSettings(env, features),
    clock = Date.now,
    delay = realDelay,
  }: { features?: F; settings?: ReturnType<typeof readSettings<F>> } & Partial<Time> = {},
) {
  const { values, secrets, problems } = settings
  const { url, unread } = await readDatabaseUrl(values.DATABASE_URL, settings.openSource)
  const patienceMs = problems.length > 0 ? 0 : startMs
  const missing = await findMissing(secrets, patienceMs, { clock, delay })
  refuse(problems, [...missing, ...unread])
  return deepFreeze({
    ...grouped(values),
    database: {
      // A function, because the URL contains a password. Printed or logged settings must not show it.
      url: () => url,
      folder: values.DATA_DIR,
      warnIfExposed: values.NODE_ENV === 'production',
    },
    secrets,
    fileWarnings: await fileWarnings(settings.texts),
    features: settings.ofFeatures,
  })
}

export type Config = Awaited<ReturnType<typeof loadConfig<Features>>>

/**
 * Loads the settings that migrating needs, and no others.
 * @throws ConfigError
 */
export async function loadDatabaseConfig(env: Environment): Promise<{ url: string; auditDays: number }> {
  const { values, problems, openSource } = readSettings(env)
  const { url, unread } = await readDatabaseUrl(values.DATABASE_URL, openSource)
  const lines = [
    ...problems.filter((line) => /^(DATABASE_URL|AUDIT_DAYS):/.test(line)),
    ...unread.map(lineOf),
  ]
  if (!url && lines.length === 0)
    lines.push('DATABASE_URL: is required. Set it to the PostgreSQL to migrate, as the owner of the tables.')
  if (!url || lines.length > 0) throw new ConfigError(lines)
  return { url, auditDays: values.AUDIT_DAYS }
}

function namesOf(features: readonly Required<FeatureSettings>[]): string[] {
  const names = Object.keys(settings.shape)
  for (const { name, settings } of features)
    for (const setting of Object.keys(settings)) {
      if (names.includes(setting))
        throw new Error(`The feature ${name} declares ${setting}, which exists already. Choose another name.`)
      names.push(setting)
    }
  return names
}

function parseEach(shape: z.ZodRawShape, texts: Texts) {
  const values: Record<string, unknown> = {}
  const problems: string[] = []
  for (const [name, field] of Object.entries(shape)) {
    const result = z.safeParse(field, texts[name])
    if (result.success) values[name] = result.data
    else problems.push(`${name}: ${result.error.issues[0]?.message}`)
  }
  return { values, problems }
}

async function readDatabaseUrl(
  text: string | undefined,
  openSource: OpenSource,
): Promise<{ url?: string; unread: Unread[] }> {
  if (text === undefined) return { unread: [] }
  try {
    const [version] = await openSource(text).versions()
    const url = version?.value ?? ''
    if (URL.canParse(url) && /^postgres(ql)?:$/.test(new URL(url).protocol)) return { url, unread: [] }
    const message = version?.problem ?? 'must be a URL, postgres://user:password@host:port/database'
    return { unread: [{ name: 'DATABASE_URL', message }] }
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    return { unread: [{ name: 'DATABASE_URL', message: error.message, fault: error.fault }] }
  }
}

// Finds the secrets without a usable version. Waits for a store that is unavailable.
async function findMissing(secrets: Secrets, patienceMs: number, time: Time): Promise<SecretProblem[]> {
  const deadline = time.clock() + patienceMs
  for (;;) {
    const { versions, problems } = await secrets.load()
    const missing = problems.filter(({ name }) => !versions[name]?.length)
    const passing = missing.length > 0 && missing.every(({ fault }) => fault && isOutage(fault))
    if (!passing || time.clock() >= deadline) return missing
    await time.delay(pauseMs)
  }
}

function refuse(problems: readonly string[], unread: readonly Unread[]): void {
  const lines = [...problems, ...unread.map(lineOf)]
  if (lines.length === 0) return
  const isByStores = unread.every(({ fault }) => fault && (isOutage(fault) || fault === 'denied'))
  throw problems.length === 0 && isByStores ? new Error(lines.join('\n')) : new ConfigError(lines)
}

const lineOf = ({ name, message }: Unread) => `${name}: ${message}`

function grouped(values: Settings) {
  return {
    http: httpSettings(values),
    keys: {
      accessAlgorithm: values.JWT_ALGORITHM,
      refreshSeconds: values.SECRETS_REFRESH_SECONDS,
      maxStaleSeconds: values.SECRETS_MAX_STALE_SECONDS,
    },
    accessTokenSeconds: values.ACCESS_TOKEN_SECONDS,
    sessions: {
      idleSeconds: values.SESSION_IDLE_SECONDS,
      absoluteSeconds: values.SESSION_ABSOLUTE_SECONDS,
      graceSeconds: values.REFRESH_GRACE_SECONDS,
      perUser: values.SESSIONS_PER_USER,
    },
    limits: {
      loginAccount: values.LIMIT_LOGIN_ACCOUNT,
      loginAddress: values.LIMIT_LOGIN_ADDRESS,
      registerAddress: values.LIMIT_REGISTER_ADDRESS,
    },
    auditDays: values.AUDIT_DAYS,
    passwords: { cost: values.BCRYPT_COST, minLength: values.PASSWORD_MIN_LENGTH },
    logLevel: values.LOG_LEVEL,
    development: values.NODE_ENV === 'development',
    // For so long after its `/readyz` turns 503, a server accepts connections. Load balancers need time to notice.
    drainNoticeSeconds: values.NODE_ENV === 'production' ? 2 : 0,
  }
}

function httpSettings(values: Settings) {
  const { NODE_ENV, PUBLIC_URL } = values
  return {
    host: values.HOST,
    port: values.PORT,
    metricsPort: values.METRICS_PORT,
    metricsHosts: values.METRICS_HOSTS,
    publicUrl: PUBLIC_URL,
    audience: values.JWT_AUDIENCE,
    corsOrigins: values.CORS_ORIGINS,
    secureCookies: values.COOKIE_SECURE ?? (NODE_ENV === 'production' || !!PUBLIC_URL?.startsWith('https:')),
    trustProxy: values.TRUST_PROXY,
    warnOfUnknownProxy: NODE_ENV === 'production' && values.TRUST_PROXY === undefined,
    localNetwork: NODE_ENV === 'development',
    hstsIncludeSubdomains: values.HSTS_INCLUDE_SUBDOMAINS,
  }
}

// Not the keys: at every load, they warn of their own files. The server reads these here once, or a store does.
async function fileWarnings(texts: Texts): Promise<string[]> {
  const files = ['DATABASE_URL', 'VAULT_TOKEN', 'VAULT_SECRET_ID'].flatMap((name) => {
    const path = pathIn(texts[name])
    return path ? [{ name, path }] : []
  })
  const warnings = [...files, { name: '.env', path: '.env' }].map(async ({ name, path }) => {
    const warning = await writableByAll(path)
    return warning ? [`${name}: ${warning}`] : []
  })
  return (await Promise.all(warnings)).flat()
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value))
    if (typeof member === 'object' && member !== null) deepFreeze(member)
  return Object.freeze(value)
}
