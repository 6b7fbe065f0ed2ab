import { readSettings } from '../../config/config.ts'
import { platformEnvironment, takeEnvironment } from '../../config/environment.ts'
import type { Algorithm } from '../key.ts'
import { linkSeconds, verifyingMs } from '../key-schedule.ts'
import { absent, conflict, malformed, SourceError } from '../source-error.ts'
import type { OpenSource } from '../sources.ts'
import { pathIn, previousPath } from '../stores/file/file.ts'
import { newPrivateKey, newSecret } from './generate.ts'
import { rotateDotenv, rotateFile } from './rotate-file.ts'
import { timeText } from './table.ts'
import { parseOptions, UsageError } from './usage.ts'

/** The variables whose secrets can be rotated. */
export const rotatable = ['JWT_ACCESS_SECRET', 'JWT_ACCESS_PRIVATE_KEY', 'JWT_REFRESH_SECRET'] as const
export type Rotatable = (typeof rotatable)[number]

type Texts = Readonly<Record<string, string | undefined>>

/** `secrets rotate`: makes a new secret in the place that a variable names. */
export async function rotateCommand(args: string[]): Promise<void> {
  const {
    positionals: [name, ...others],
    values: { force },
  } = parseOptions(args, { force: { type: 'boolean', default: false } })
  const variable = rotatable.find((other) => other === name)
  if (!variable || others.length > 0)
    throw new UsageError(`rotate needs the name of one secret: ${rotatable.join(', ')}.`)
  const platform = platformEnvironment()
  const { values, texts, openSource } = readSettings(takeEnvironment())
  const isAccess = variable !== 'JWT_REFRESH_SECRET'
  const algorithm = values.JWT_ALGORITHM ?? 'HS256'
  const keepMs = verifyingMs({
    reloadSeconds: values.SECRETS_REFRESH_SECONDS ?? 60,
    tokenSeconds: isAccess
      ? (values.ACCESS_TOKEN_SECONDS ?? 900)
      : Math.max(values.SESSION_IDLE_SECONDS ?? 604_800, linkSeconds),
    algorithm: isAccess ? algorithm : 'HS256',
  })
  const options = { texts, platform, openSource, algorithm, force, keepMs, clock: Date.now }
  const done = await rotate(variable, options).catch((error) => {
    throw error instanceof SourceError ? new SourceError(error.fault, `${variable}: ${error.message}`) : error
  })
  process.stdout.write(`${variable}: ${done}\n`)
}

/**
 * Makes a new secret in the place that the variable names. In a store, it writes a new version. In a file or `.env`,
 * the old secret becomes the previous one. Refuses to write through links, and to files of other users.
 * @param options.texts the raw values of the variables
 * @param options.platform the variables set outside of `.env`, which this function cannot change
 * @returns what happened and what to do, in one line
 * @throws SourceError if the secret cannot be written; nothing has changed then, or the message says what
 */
export async function rotate(
  name: Rotatable,
  options: {
    texts: Texts
    platform: Texts
    algorithm: Algorithm
    openSource: OpenSource
    /** How long after a rotation tokens of the old secret may be valid, in milliseconds. */
    keepMs: number
    /** Replaces a previous secret even if its tokens may be valid. */
    force: boolean
    clock: () => number
  },
): Promise<string> {
  const { texts, algorithm, openSource, keepMs, force, clock } = options
  const [text, previous] = [texts[name], texts[`${name}_PREVIOUS`]]
  if (!text) throw absent('is not set. Set it to the place for its secret.')
  const value = name === 'JWT_ACCESS_PRIVATE_KEY' ? newPrivateKey(asymmetric(algorithm)) : newSecret()
  const path = pathIn(text)
  if (path) {
    const kept = previous ? pathIn(previous) : previousPath(path)
    if (!kept) throw elsewhere(name, 'a file')
    const inUse = (until: number) => tokensInUse(name, kept, `Wait until ${timeText(until)} UTC`)
    return rotateFile({ path, kept, value }, { keepMs: force ? 0 : keepMs, inUse, clock })
  }
  if (text.startsWith('ref+')) {
    const source = openSource(text)
    await source.rotate?.(value)
    return `A new version is in ${source.label}. Every server loads it by itself.`
  }
  refuseOutsideDotenv(name, options)
  if (previous && !force) throw tokensInUse(name, `${name}_PREVIOUS`, 'Remove it when they have expired')
  return rotateDotenv(name, value)
}

function asymmetric(algorithm: Algorithm): Exclude<Algorithm, 'HS256'> {
  if (algorithm !== 'HS256') return algorithm
  throw malformed('is not in use, because JWT_ALGORITHM is HS256. Set it to RS256 or ES256.')
}

function refuseOutsideDotenv(name: Rotatable, { platform, texts }: { platform: Texts; texts: Texts }): void {
  const previous = `${name}_PREVIOUS`
  if (platform[name])
    throw malformed(
      `is set on the platform, which only you can change. Set ${previous} to the value of ${name}, and ${name} to the output of "generate". Then restart.`,
    )
  if (platform[previous] || texts[previous]?.startsWith('ref+')) throw elsewhere(name, '.env')
}

const elsewhere = (name: Rotatable, place: string) =>
  malformed(
    `is in ${place}, but ${name}_PREVIOUS is set elsewhere and would not get the old secret. Remove ${name}_PREVIOUS there.`,
  )

// Only one previous secret is kept. So a rotation overwrites it, and its tokens become invalid.
function tokensInUse(name: Rotatable, kept: string, remedy: string): SourceError {
  const effect = name === 'JWT_REFRESH_SECRET' ? 'their users would be logged out' : 'they would be refused'
  return conflict(
    `was not rotated. Tokens of the secret in ${kept} may still be valid, and ${effect}. ${remedy}, or add --force.`,
  )
}
