// What the configuration reads from files and stores at the start.
import type { Delay } from '../retry.ts'
import type { SecretProblem, Secrets } from '../secrets/load-secrets.ts'
import { isOutage, SourceError, type SourceFault } from '../secrets/source-error.ts'
import type { OpenSource } from '../secrets/sources.ts'
import { pathIn, writableByAll } from '../secrets/stores/file/file.ts'
import { ConfigError } from './config-error.ts'
import type { Texts } from './environment.ts'
import { parseSmtpUrl } from './mail.ts'

const pauseMs = 500

/** A value that could not be read, or, without `fault`, is wrong. */
interface Unread {
  name: string
  fault?: SourceFault
  message: string
}

export interface Time {
  /** Returns milliseconds. */
  clock: () => number
  delay: Delay
}

/** Returns the URL of the database; no URL if it is not set or could not be read. */
export async function readDatabaseUrl(text: string | undefined, openSource: OpenSource) {
  const { value: url, unread } = await readUrl('DATABASE_URL', text, openSource, (url) =>
    URL.canParse(url) && /^postgres(ql)?:$/.test(new URL(url).protocol)
      ? { value: url }
      : { problem: 'must be a URL, postgres://user:password@host:port/database' },
  )
  return { url, unread }
}

/** Returns the server that SMTP_URL names; none if it is not set or could not be read. */
export const readSmtpUrl = (text: string | undefined, openSource: OpenSource) =>
  readUrl('SMTP_URL', text, openSource, (url) => {
    const parsed = parseSmtpUrl(url)
    return typeof parsed === 'string' ? { problem: parsed } : { value: parsed }
  })

async function readUrl<T>(
  name: string,
  text: string | undefined,
  openSource: OpenSource,
  parse: (url: string) => { value: T } | { problem: string },
): Promise<{ value?: T; unread: Unread[] }> {
  if (text === undefined) return { unread: [] }
  try {
    const [version] = await openSource(text).versions()
    const parsed = parse(version?.value ?? '')
    if ('value' in parsed) return { value: parsed.value, unread: [] }
    return { unread: [{ name, message: version?.problem ?? parsed.problem }] }
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    return { unread: [{ name, message: error.message, fault: error.fault }] }
  }
}

/** Returns why secrets have no usable version. Waits for stores that are unavailable, as long as `patienceMs`. */
export async function findMissing(
  secrets: Secrets,
  patienceMs: number,
  time: Time,
): Promise<SecretProblem[]> {
  const deadline = time.clock() + patienceMs
  for (;;) {
    const { versions, problems } = await secrets.load()
    const missing = problems.filter(({ name }) => !versions[name]?.length)
    const passing = missing.length > 0 && missing.every(({ fault }) => fault && isOutage(fault))
    if (!passing || time.clock() >= deadline) return missing
    await time.delay(pauseMs)
  }
}

/**
 * Throws if there is any problem.
 * @throws ConfigError; another Error if the only problem is that stores are unavailable or refuse
 */
export function refuse(problems: readonly string[], unread: readonly Unread[]): void {
  const lines = [...problems, ...unread.map(lineOf)]
  if (lines.length === 0) return
  const isByStores = unread.every(({ fault }) => fault && (isOutage(fault) || fault === 'denied'))
  throw problems.length === 0 && isByStores ? new Error(lines.join('\n')) : new ConfigError(lines)
}

export const lineOf = ({ name, message }: Unread) => `${name}: ${message}`

/**
 * Returns warnings about files that every user can write. Leaves out the files of keys, because keys warn about them at
 * every load.
 */
export async function fileWarnings(texts: Texts): Promise<string[]> {
  const files = ['DATABASE_URL', 'SMTP_URL', 'VAULT_TOKEN', 'VAULT_SECRET_ID'].flatMap((name) => {
    const path = pathIn(texts[name])
    return path ? [{ name, path }] : []
  })
  const warnings = [...files, { name: '.env', path: '.env' }].map(async ({ name, path }) => {
    const warning = await writableByAll(path)
    return warning ? [`${name}: ${warning}`] : []
  })
  return (await Promise.all(warnings)).flat()
}
