import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { parse as parseDotenv } from 'dotenv'
import ipaddr from 'ipaddr.js'
import { z } from 'zod'
import { codeOf } from '../errors.ts'
import { openSecrets, type SecretProblem, type Secrets, secretNames } from '../secrets/load-secrets.ts'
import { isOutage, SourceError, type SourceFault } from '../secrets/source-error.ts'
import { createSources, type OpenSource } from '../secrets/sources.ts'
import { isUtf16, pathIn, previousPath, writableByAll } from '../secrets/stores/file/file.ts'
import type { Environment } from '../secrets/stores/secret-store.ts'

/** What a process exits with for a ConfigError: EX_CONFIG of sysexits.h. */
export const exitConfig = 78

/** Settings or secrets that are not valid: one line a problem, `NAME: what is wrong and how to fix it`. */
export class ConfigError extends Error {
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}

function integer(min: number, max: number) {
  const message = `must be a whole number from ${min} to ${max}, in decimal digits`
  return z
    .string()
    .regex(/^\d+$/, message)
    .transform(Number)
    .pipe(z.number().min(min, message).max(max, message))
}

const boolean = z.enum(['true', 'false'], 'must be true or false').transform((text) => text === 'true')

const list = (text: string) => text.split(',').map((item) => item.trim())

const loopbackNames = ['localhost', '127.0.0.1', '[::1]']

/** Whether an origin is on this machine, where browsers grant what they elsewhere grant to https only. */
const isLocal = (origin: string) => loopbackNames.includes(new URL(origin).hostname)

/**
 * Returns whether an http origin is on this machine or its local network: *.localhost, *.local, or an address that is
 * loopback, private (RFC 1918, RFC 4193) or link-local. Only development trusts these names and addresses.
 */
function isOnLocalNetwork(origin: string): boolean {
  if (!isOrigin(origin) || !origin.startsWith('http:')) return false
  const host = new URL(origin).hostname.replace(/^\[|\]$/g, '')
  if (/(?:^|\.)localhost$|\.local$/.test(host)) return true
  return ipaddr.isValid(host) && localRanges.includes(ipaddr.process(host).range())
}
const localRanges = ['loopback', 'private', 'linkLocal', 'uniqueLocal']

function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin === text && /^https?:[^*]+$/.test(text)
}

const publicUrl = z
  .string()
  .transform((text) => text.replace(/\/$/, ''))
  .refine(isOrigin, {
    error: ({ input }) => {
      const hasPath = URL.canParse(`${input}`) && isOrigin(new URL(`${input}`).origin)
      return `must be an origin, scheme://host[:port] in lower case${hasPath ? ': remove the path' : ' and without a path'}`
    },
  })

const corsOrigins = z
  .string()
  .transform(list)
  .refine(
    (origins) => origins.every(isOrigin),
    'must be comma-separated origins, each scheme://host[:port] in lower case, without a path or wildcard',
  )

const hostNames = z
  .string()
  .transform((text) => list(text.toLowerCase()))
  .refine(
    (names) => names.every((name) => /^[a-z\d][\w.-]*$/.test(name)),
    'must be comma-separated host names, without a scheme, port or wildcard',
  )

// Counts and ranges only: "every proxy" would let anyone write the client's address.
function parseTrustProxy(text: string): number | string[] | undefined {
  if (/^\d+$/.test(text)) return Number(text) >= 1 && Number(text) <= 10 ? Number(text) : undefined
  const ranges = list(text)
  return ranges.every(isAddressRange) ? ranges : undefined
}

function isAddressRange(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  if (isIP(address) === 0 || address.includes('%') || rest.length > 0) return false
  return bits === undefined || (/^[1-9]\d{0,2}$/.test(bits) && ipaddr.isValidCIDR(text))
}

// IPv4 as IPv6 carries it, which is how Express compares the two; and all of IPv6 that is given to networks.
const publicSpaces = ['::ffff:0:0/96', '2000::/3'].map(rangeOf)

/** Whether ranges have half of all public addresses or more, of IPv4 or IPv6, however they are split. */
function coversMost(ranges: string[]): boolean {
  const covered = ranges.map(rangeOf)
  return publicSpaces.some((space) => 2n * sizeWithin(space, covered) >= space.end - space.start)
}

type Range = { start: bigint; end: bigint }

function rangeOf(text: string): Range {
  const [address = '', bits] = text.split('/')
  const parsed = ipaddr.parse(address)
  const [ipv6, free] =
    parsed instanceof ipaddr.IPv4 ? [parsed.toIPv4MappedAddress(), 32] : [parsed as ipaddr.IPv6, 128]
  const size = 1n << BigInt(free - Number(bits ?? free))
  const number = BigInt(`0x${Buffer.from(ipv6.toByteArray()).toString('hex')}`)
  return { start: number - (number % size), end: number - (number % size) + size }
}

function sizeWithin(space: Range, ranges: Range[]): bigint {
  let size = 0n
  let reached = space.start
  for (const { start, end } of ranges.toSorted((a, b) => (a.start < b.start ? -1 : 1))) {
    const from = start > reached ? start : reached
    const to = end < space.end ? end : space.end
    if (to <= from) continue
    size += to - from
    reached = to
  }
  return size
}

const trustProxy = z.string().transform((text, context) => {
  const parsed = parseTrustProxy(text)
  if (parsed === undefined)
    context.addIssue('must be the number of proxies (1 to 10), or comma-separated addresses and CIDR ranges')
  else if (typeof parsed === 'object' && coversMost(parsed))
    context.addIssue(
      "must not have half of all addresses or more, because anyone could write the client's address; name the proxies only",
    )
  else return parsed
  return z.NEVER
})

const limit = z.string().transform((text, context) => {
  if (text === 'off') return undefined
  const [, attempts = 0, seconds = 0] = (/^(\d{1,7})\/(\d{1,5})$/.exec(text) ?? []).map(Number)
  const valid = attempts >= 1 && attempts <= 1_000_000 && seconds >= 1 && seconds <= 86_400
  if (valid) return { attempts, seconds }
  context.addIssue('must be N/S: N (1 to 1000000) attempts in S (1 to 86400) seconds; or off')
  return z.NEVER
})

const secret = z.string().optional()

/** The settings, by the name of their environment variable. What they mean is in the README's table. */
export const settings = z.object({
  NODE_ENV: z
    .enum(['production', 'development', 'test'], 'must be production, development or test')
    .default('production'),
  HOST: z
    .string()
    .regex(/^[\w.:-]+$/, 'must be an address or a host name')
    .default('127.0.0.1'),
  PORT: integer(0, 65535).default(3000),
  PUBLIC_URL: publicUrl.optional(),
  JWT_AUDIENCE: z.string().regex(/^\S+$/, 'must not be blank or contain white space').optional(),
  CORS_ORIGINS: corsOrigins.default([]),
  COOKIE_SECURE: boolean.optional(),
  TRUST_PROXY: trustProxy.optional(),
  DATABASE_URL: secret,
  DATA_DIR: z.string().default('.data'),
  JWT_ALGORITHM: z.enum(['HS256', 'RS256', 'ES256'], 'must be HS256, RS256 or ES256').default('HS256'),
  JWT_ACCESS_SECRET: secret,
  JWT_ACCESS_SECRET_PREVIOUS: secret,
  JWT_ACCESS_PRIVATE_KEY: secret,
  JWT_ACCESS_PRIVATE_KEY_PREVIOUS: secret,
  JWT_REFRESH_SECRET: secret,
  JWT_REFRESH_SECRET_PREVIOUS: secret,
  VAULT_ADDR: z
    .url({ protocol: /^https?$/, error: 'must be a URL, https://vault.example.com:8200' })
    .optional(),
  VAULT_TOKEN: secret,
  VAULT_ROLE_ID: z.string().optional(),
  VAULT_SECRET_ID: secret,
  VAULT_NAMESPACE: z.string().optional(),
  VAULT_CACERT: z.string().optional(),
  SECRETS_REFRESH_SECONDS: integer(1, 86400).default(60),
  SECRETS_MAX_STALE_SECONDS: integer(0, 2592000).default(86400),
  ACCESS_TOKEN_SECONDS: integer(1, 3600).default(900),
  SESSION_IDLE_SECONDS: integer(1, 31536000).default(604800),
  SESSION_ABSOLUTE_SECONDS: integer(1, 31536000).default(2592000),
  SESSIONS_PER_USER: integer(1, 1000).default(20),
  REFRESH_GRACE_SECONDS: integer(0, 60).default(10),
  BCRYPT_COST: integer(4, 16).default(12),
  PASSWORD_MIN_LENGTH: integer(8, 64).default(15),
  LIMIT_LOGIN_ACCOUNT: limit.prefault('10/900'),
  LIMIT_LOGIN_ADDRESS: limit.prefault('100/900'),
  LIMIT_REGISTER_ADDRESS: limit.prefault('20/3600'),
  AUDIT_DAYS: integer(1, 3650).default(90),
  METRICS_PORT: integer(0, 65535).optional(),
  METRICS_HOSTS: hostNames.default([]),
  DEMO: boolean.optional(),
  DOCS: boolean.default(true),
  HSTS_INCLUDE_SUBDOMAINS: boolean.default(false),
  LOG_LEVEL: z
    .enum(
      ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
      'must be fatal, error, warn, info, debug, trace or silent',
    )
    .default('info'),
})

type Settings = z.output<typeof settings>

/** Variables that may say where their value is (`ref+…`, or `NAME_FILE`) instead of holding it. */
export const referenceNames = [...secretNames, 'DATABASE_URL', 'VAULT_TOKEN', 'VAULT_SECRET_ID'] as const

// What one setting allows or needs because of another. Only those that were valid on their own are judged.
function crossProblems(values: Partial<Settings>, texts: Environment, env: Environment): string[] {
  const problems: string[] = []
  const production = values.NODE_ENV === 'production'
  if (production && 'PUBLIC_URL' in values && values.PUBLIC_URL === undefined)
    problems.push(
      'PUBLIC_URL: is required in production; set it to the origin browsers use, https://…; or NODE_ENV=development',
    )
  if (values.PUBLIC_URL && !mayBePublicUrl(values.PUBLIC_URL, values.NODE_ENV))
    problems.push(
      'PUBLIC_URL: must be https; http is for localhost only, and in development for the local network',
    )
  if (production && values.COOKIE_SECURE === false && values.PUBLIC_URL && !isLocal(values.PUBLIC_URL))
    problems.push(
      'COOKIE_SECURE: may be false in production only where PUBLIC_URL is on localhost; remove it',
    )
  if (production && texts.DATABASE_URL === undefined && texts.DATA_DIR === undefined)
    problems.push(
      'DATABASE_URL: is required in production. Set it to a PostgreSQL; or set DATA_DIR to the folder of the embedded database.',
    )
  if (production && values.CORS_ORIGINS?.some((origin) => origin.startsWith('http:') && !isLocal(origin)))
    problems.push('CORS_ORIGINS: must be https in production; http is for localhost only')
  if (production && env.NODE_TLS_REJECT_UNAUTHORIZED === '0')
    problems.push(
      'NODE_TLS_REJECT_UNAUTHORIZED: must not be 0 in production, because no certificate is verified then. Remove it, and name your own authority in NODE_EXTRA_CA_CERTS.',
    )
  if (production && values.VAULT_ADDR?.startsWith('http:') && !isLocal(values.VAULT_ADDR))
    problems.push('VAULT_ADDR: must be https in production; http is for localhost only')
  if ((values.BCRYPT_COST ?? 12) < 10 && values.NODE_ENV !== 'test')
    problems.push('BCRYPT_COST: must be a whole number from 10 to 16, in decimal digits')
  if ((values.SESSION_IDLE_SECONDS ?? 0) > (values.SESSION_ABSOLUTE_SECONDS ?? Infinity))
    problems.push('SESSION_IDLE_SECONDS: must not be more than SESSION_ABSOLUTE_SECONDS')
  return problems
}

const mayBePublicUrl = (url: string, environment: Settings['NODE_ENV'] | undefined) =>
  url.startsWith('https:') || isLocal(url) || (environment === 'development' && isOnLocalNetwork(url))

const isSecureByDefault = ({ NODE_ENV, PUBLIC_URL }: Settings) =>
  NODE_ENV === 'production' || PUBLIC_URL?.startsWith('https:') === true

// A value as its variable gives it, or as `ref+file://` where `NAME_FILE` gives a path.
function withFileVariables(env: Environment, problems: string[]) {
  const result: Record<string, string | undefined> = {}
  for (const name of Object.keys(settings.shape)) result[name] = env[name] || undefined
  for (const name of referenceNames) {
    const path = env[`${name}_FILE`]
    if (!path) continue
    if (result[name])
      problems.push(`${name}: ${name}_FILE is set too, in the environment or in .env; keep one of the two`)
    result[name] = `ref+file://${path}`
  }
  return withPreviousFiles(result)
}

// Beside a secret file, the one of the previous secret is read by itself. `secrets rotate` writes it there.
function withPreviousFiles(texts: Record<string, string | undefined>) {
  const result = { ...texts }
  for (const name of secretNames) {
    const path = pathIn(texts[name])
    if (path?.startsWith('/') && `${name}_PREVIOUS` in texts)
      result[`${name}_PREVIOUS`] ??= `ref+file://${previousPath(path)}`
  }
  return result
}

async function readDatabaseUrl(
  text: string | undefined,
  openSource: OpenSource,
): Promise<{ url?: string; fault?: SourceFault; message?: string }> {
  if (text === undefined) return {}
  try {
    const [version] = await openSource(text).versions()
    const url = version?.value ?? ''
    if (URL.canParse(url) && /^postgres(ql)?:$/.test(new URL(url).protocol)) return { url }
    return { message: version?.problem ?? 'must be a URL, postgres://user:password@host:port/database' }
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    return { message: error.message, fault: error.fault }
  }
}

// The keys warn of their own files, at every load. These are read once, or by a store.
async function fileWarnings(texts: Record<string, string | undefined>): Promise<string[]> {
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

const startSeconds = 15
const refusals: SourceFault[] = ['denied', 'sealed', 'unreachable']

// The secrets that there is no usable version of. A store that is out of reach is tried again for a while.
async function findMissing(secrets: Secrets, forSeconds: number): Promise<SecretProblem[]> {
  const deadline = Date.now() + forSeconds * 1000
  for (;;) {
    const { versions, problems } = await secrets.load()
    const missing = problems.filter(({ name }) => !versions[name]?.length)
    const passing = missing.length > 0 && missing.every(({ fault }) => fault && isOutage(fault))
    if (!passing || Date.now() > deadline) return missing
    await delay(500)
  }
}

/**
 * Reads the settings of `env` without reading secrets yet.
 * @returns values of the settings that are valid, with every problem of the others; `texts`: what the variables say
 */
export function readSettings(env: Environment) {
  const problems: string[] = []
  const texts = withFileVariables(env, problems)
  const checked: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(settings.shape)) {
    const result = field.safeParse(texts[name])
    if (result.success) checked[name] = result.data
    else problems.push(`${name}: ${result.error.issues[0]?.message}`)
  }
  const values = checked as Settings
  problems.push(...crossProblems(values, texts, env))
  const openSource = createSources({ ...env, ...texts })
  return { values, problems, texts, openSource, secrets: openSecrets(values, openSource) }
}

/**
 * The settings of `env`, checked, grouped and frozen.
 * @param settings what `readSettings` has made of it already
 * @throws ConfigError with every problem at once; another Error where all is valid, but a store is out of reach or
 * refuses
 */
export async function loadConfig(env: Environment, settings = readSettings(env)) {
  const { values, openSource, secrets } = settings
  const problems = [...settings.problems]
  const { url, message, ...fault } = await readDatabaseUrl(values.DATABASE_URL, openSource)
  const unread: { name: string; fault?: SourceFault; message: string }[] = await findMissing(
    secrets,
    problems.length > 0 ? 0 : startSeconds,
  )
  if (message) unread.push({ name: 'DATABASE_URL', message, ...fault })
  const refused = unread.filter(({ fault }) => !fault || !refusals.includes(fault))
  const lines = [...problems, ...unread.map(({ name, message }) => `${name}: ${message}`)]
  if (problems.length + refused.length > 0) throw new ConfigError(lines)
  if (lines.length > 0) throw new Error(lines.join('\n'))

  return deepFreeze({
    http: {
      host: values.HOST,
      port: values.PORT,
      metricsPort: values.METRICS_PORT,
      metricsHosts: values.METRICS_HOSTS,
      publicUrl: values.PUBLIC_URL,
      audience: values.JWT_AUDIENCE,
      corsOrigins: values.CORS_ORIGINS,
      secureCookies: values.COOKIE_SECURE ?? isSecureByDefault(values),
      trustProxy: values.TRUST_PROXY,
      warnOfUnknownProxy: values.NODE_ENV === 'production' && values.TRUST_PROXY === undefined,
      localNetwork: values.NODE_ENV === 'development',
      demo: values.DEMO ?? values.NODE_ENV === 'development',
      docs: values.DOCS,
      hstsIncludeSubdomains: values.HSTS_INCLUDE_SUBDOMAINS,
    },
    // A function, as it has a password in it: what is printed or logged of the settings must not show it.
    database: {
      url: () => url,
      folder: values.DATA_DIR,
      warnIfExposed: values.NODE_ENV === 'production',
    },
    secrets,
    fileWarnings: await fileWarnings(settings.texts),
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
    // So long after it has said that it is not ready, a server takes new connections: a balancer needs to notice.
    drainNoticeSeconds: values.NODE_ENV === 'production' ? 2 : 0,
  })
}

/**
 * The settings that migrating needs, and no others.
 * @throws ConfigError
 */
export async function loadDatabaseConfig(env: Environment): Promise<{ url: string; auditDays: number }> {
  const { values, problems, openSource } = readSettings(env)
  const lines = problems.filter((line) => /^(DATABASE_URL|AUDIT_DAYS):/.test(line))
  const { url, message } = await readDatabaseUrl(values.DATABASE_URL, openSource)
  if (message) lines.push(`DATABASE_URL: ${message}`)
  else if (!url && lines.length === 0)
    lines.push('DATABASE_URL: is required. Set it to the PostgreSQL to migrate, as the owner of the tables.')
  if (!url || lines.length > 0) throw new ConfigError(lines)
  return { url, auditDays: values.AUDIT_DAYS }
}

export type Config = Awaited<ReturnType<typeof loadConfig>>

function deepFreeze<T extends object>(value: T): T {
  for (const member of Object.values(value))
    if (typeof member === 'object' && member !== null) deepFreeze(member)
  return Object.freeze(value)
}

/** What is set outside of `.env`, which that does not change. To be asked for before `takeEnvironment`. */
export const platformEnvironment = (): Environment => ({ ...process.env })

// What the SDKs of stores read, which look into `process.env` by themselves and whenever they like.
const ofSdks = /^(AWS|AZURE|GOOGLE|GCLOUD|IDENTITY)_/

/**
 * The process environment, completed by `.env` of the working directory. Secrets are taken out of `process.env`,
 * so that no child process and no report of the environment has them.
 * @throws ConfigError if `.env` cannot be read, or a # cuts a value in it
 */
export function takeEnvironment(): Environment {
  const set = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== ''))
  const environment = { ...readDotenv(set), ...set }
  for (const name of referenceNames) delete process.env[name]
  for (const [name, value] of Object.entries(environment)) if (ofSdks.test(name)) process.env[name] = value
  return environment
}

function readDotenv(set: Environment): Environment {
  const text = textOfDotenv()
  const problems = cutByComment(text)
    .filter((name) => !(name in set))
    .map((name) => `${name}: An unquoted # cuts it off in .env. Put the value in quotes.`)
  problems.push(
    ...linesWithoutName(text).map(
      (line) => `.env: line ${line} has no =. Write NAME=value, or begin the line with #.`,
    ),
  )
  if (problems.length > 0) throw new ConfigError(problems)
  return parseDotenv(text)
}

function textOfDotenv(): string {
  try {
    const bytes = readFileSync('.env')
    if (isUtf8(bytes) && !isUtf16(bytes)) return bytes.toString().replace(/^\ufeff/, '')
    throw new ConfigError([`.env: is ${isUtf16(bytes) ? 'UTF-16' : 'not UTF-8'}; save it as UTF-8`])
  } catch (error) {
    if (error instanceof ConfigError) throw error
    if (codeOf(error) === 'ENOENT') return ''
    throw new ConfigError([`.env: cannot be read (${codeOf(error)}); fix its permissions, or remove it`])
  }
}

// dotenv takes what follows a # for a comment, also in a reference, in a password and in a URL. A comment that is meant has
// a blank in front of it.
function cutByComment(text: string): string[] {
  const lines = text.matchAll(/^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*[=:]([^\r\n]*)/gm)
  return [...lines].flatMap(([, name = '', value = '']) => {
    const isQuoted = /^[ \t]*["'`]/.test(value)
    const isCut = value.includes('#') && !/\s$/.test(value.split('#', 1)[0] ?? '')
    return isCut && !isQuoted && isRead(name) ? [name] : []
  })
}

// dotenv skips such lines silently. The lines inside a quoted value of several lines are not meant.
function linesWithoutName(text: string): number[] {
  const value = /^[ \t]*(?:export[ \t]+)?[\w.-]+[ \t]*[=:][ \t]*(?:"(?:\\"|[^"])*"|'[^']*'|`[^`]*`)?/gm
  const bare = text.replace(value, (match) => match.replace(/[^\n]+/g, '#'))
  return bare.split('\n').flatMap((line, index) => (/^\s*[^#\s]/.test(line) ? [index + 1] : []))
}

/** Whether this server, or the SDK of a store, reads a variable. */
const isRead = (name: string) =>
  Object.hasOwn(settings.shape, name.replace(/_FILE$/, '')) || ofSdks.test(name)

/** The origins that are this server's own: while it is on localhost, the other names of the loopback too. */
export function ownOrigins(publicUrl: string): string[] {
  if (!isLocal(publicUrl)) return [publicUrl]
  const { protocol, port } = new URL(publicUrl)
  return loopbackNames.map((name) => `${protocol}//${name}${port && `:${port}`}`)
}

/**
 * Returns a rule for whether an `Origin` is this server's own.
 * @param localNetwork accept the server's port under any http name or address of the local network too
 */
export function ownOriginRule(publicUrl: string, localNetwork: boolean): (origin: string) => boolean {
  const own = ownOrigins(publicUrl)
  const { port } = new URL(publicUrl)
  return (origin) =>
    own.includes(origin) || (localNetwork && isOnLocalNetwork(origin) && new URL(origin).port === port)
}
