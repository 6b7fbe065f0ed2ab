import { z } from 'zod'
import { delay as realDelay } from '../retry.ts'
import { openSecrets } from '../secrets/load-secrets.ts'
import { createSources, type OpenSource } from '../secrets/sources.ts'
import type { Environment } from '../secrets/stores/secret-store.ts'
import { ConfigError } from './config-error.ts'
import { readTexts, type Texts } from './environment.ts'
import type { SmtpServer } from './mail.ts'
import {
  fileWarnings,
  findMissing,
  lineOf,
  readDatabaseUrl,
  readSmtpUrl,
  refuse,
  type Time,
} from './reading.ts'
import { brokenRules } from './rules.ts'
import { type FeatureSettings, type Settings, type SettingsOfFeatures, settings } from './settings.ts'

const startMs = 15_000

type Features = readonly FeatureSettings[]

/**
 * Reads the settings of `env`, and no secrets yet.
 * @param features whose own settings to read too
 * @returns `values` and `ofFeatures`, the settings that are valid; `problems` of the others; `texts`, the raw values of
 * the variables
 */
export function readSettings<const F extends Features = []>(env: Environment, features?: F) {
  const declared = (features ?? []).map(({ name, settings: shape = {} }) => ({ name, shape }))
  const { texts, problems } = readTexts(env, namesOf(declared))
  const core = parseEach(settings.shape, texts)
  const values = core.values as Settings
  const parsed = declared.map(({ name, shape }) => ({ name, ...parseEach(shape, texts) }))
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
  const smtp = await readSmtpUrl(values.SMTP_URL, settings.openSource)
  const patienceMs = problems.length > 0 ? 0 : startMs
  const missing = await findMissing(secrets, patienceMs, { clock, delay })
  refuse(problems, [...missing, ...unread, ...smtp.unread])
  return deepFreeze({
    ...grouped(values),
    database: {
      // A function, because the URL contains a password. Printed or logged settings must not show it.
      url: () => url,
      folder: values.DATA_DIR,
      warnIfExposed: values.NODE_ENV === 'production',
    },
    mail: {
      /** Whether there is mail at all. Without SMTP_URL, development and test have a mailbox. */
      on: values.SMTP_URL !== undefined || values.NODE_ENV !== 'production',
      /** Reads SMTP_URL again. Undefined if it is not set. A function, because the URL contains a password. */
      smtp: values.SMTP_URL === undefined ? undefined : smtpReader(values.SMTP_URL, settings.openSource),
      from: values.MAIL_FROM,
      /** Undefined means the page of this server. */
      accountUrl: values.ACCOUNT_URL,
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
    lines.push(
      'DATABASE_URL: is required. Set it to the URL of the PostgreSQL database to migrate, as the owner of the tables.',
    )
  if (!url || lines.length > 0) throw new ConfigError(lines)
  return { url, auditDays: values.AUDIT_DAYS }
}

function namesOf(declared: readonly { name: string; shape: z.ZodRawShape }[]): string[] {
  const names = Object.keys(settings.shape)
  for (const { name, shape } of declared)
    for (const setting of Object.keys(shape)) {
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

function grouped(values: Settings) {
  return {
    http: httpSettings(values),
    keys: {
      accessAlgorithm: values.JWT_ALGORITHM,
      reloadSeconds: values.SECRETS_REFRESH_SECONDS,
      maxStaleSeconds: values.SECRETS_MAX_STALE_SECONDS,
    },
    accessTokenSeconds: values.ACCESS_TOKEN_SECONDS,
    sessions: {
      idleSeconds: values.SESSION_IDLE_SECONDS,
      absoluteSeconds: values.SESSION_ABSOLUTE_SECONDS,
      graceSeconds: values.REFRESH_GRACE_SECONDS,
      perUser: values.SESSIONS_PER_USER,
    },
    freshSeconds: values.FRESH_SECONDS,
    limits: {
      loginAccount: values.LIMIT_LOGIN_ACCOUNT,
      loginAddress: values.LIMIT_LOGIN_ADDRESS,
      registerAddress: values.LIMIT_REGISTER_ADDRESS,
      mailAddress: values.LIMIT_MAIL_ADDRESS,
      mailRecipient: values.LIMIT_MAIL_RECIPIENT,
    },
    auditDays: values.AUDIT_DAYS,
    registration: values.REGISTRATION,
    passwords: { cost: values.BCRYPT_COST, minLength: values.PASSWORD_MIN_LENGTH },
    logLevel: values.LOG_LEVEL,
    development: values.NODE_ENV === 'development',
    // How long a server still accepts connections after its `/readyz` turns 503. Load balancers need time to notice.
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

/**
 * Returns a function that reads SMTP_URL again. It throws an Error that says what is wrong, without the URL.
 */
function smtpReader(text: string, openSource: OpenSource): () => Promise<SmtpServer> {
  return async () => {
    const { value, unread } = await readSmtpUrl(text, openSource)
    if (!value) throw new Error(unread.map(lineOf).join('\n'))
    return value
  }
}

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value))
    if (typeof member === 'object' && member !== null) deepFreeze(member)
  return Object.freeze(value)
}
