import { readFile } from 'node:fs/promises'
import { parse } from 'dotenv'
import { codeOf } from '../../errors.ts'
import type { Algorithm } from '../key.ts'
import { SourceError } from '../source-error.ts'
import type { OpenSource } from '../sources.ts'
import { type Draft, draftFile, ownFile } from '../stores/file/draft-file.ts'
import { pathIn, previousPath, readSecretFile } from '../stores/file/file.ts'
import { timeText } from './check.ts'
import { newPrivateKey, newSecret } from './generate.ts'

/** The variables whose secrets can be rotated. */
export const rotatable = ['JWT_ACCESS_SECRET', 'JWT_ACCESS_PRIVATE_KEY', 'JWT_REFRESH_SECRET'] as const
export type Rotatable = (typeof rotatable)[number]

/**
 * Makes a new secret and writes it to where the variable says its secret lives: as a new version to a store; into a
 * file or `.env`, what was there being kept as the `_PREVIOUS`. Refuses to write through links, and files of other users.
 * @param texts what the variables say; `platform`: those that are set outside of `.env`, where they cannot be written
 * @returns what happened and what is to be done, in one line
 * @throws SourceError where it cannot be written; nothing has changed then, or the message says what
 */
export async function rotate(
  name: Rotatable,
  options: {
    texts: Readonly<Record<string, string | undefined>>
    platform: Readonly<Record<string, string | undefined>>
    algorithm: Algorithm
    openSource: OpenSource
    /** How long after a rotation tokens of the secret before it may be valid, in milliseconds. */
    keepMs: number
    /** Replaces a previous secret whose tokens may be valid. */
    force: boolean
  },
): Promise<string> {
  const { texts, platform, algorithm, openSource, keepMs, force } = options
  const text = texts[name]
  if (!text) throw new SourceError('absent', 'is not set; set it to where its secret is to live')
  const value = name === 'JWT_ACCESS_PRIVATE_KEY' ? newPrivateKey(asymmetric(algorithm)) : newSecret()
  const path = pathIn(text)
  if (path) {
    const kept = previousFile(name, path, texts[`${name}_PREVIOUS`])
    return rotateFile(name, { path, kept, value, keepMs: force ? 0 : keepMs })
  }
  if (text.startsWith('ref+')) {
    const source = openSource(text)
    await source.rotate?.(value)
    return `a new version is in ${source.label}; every server takes it up by itself`
  }
  if (platform[name])
    throw new SourceError(
      'malformed',
      `is set on the platform, which only you can change: set ${name}_PREVIOUS to what ${name} is, and ${name} to what "generate" gives; then restart`,
    )
  if (platform[`${name}_PREVIOUS`] || texts[`${name}_PREVIOUS`]?.startsWith('ref+'))
    throw new SourceError(
      'malformed',
      `is in .env, but ${name}_PREVIOUS is not, and would not be what it was; remove it from where it is set`,
    )
  if (texts[`${name}_PREVIOUS`] && !force)
    throw inUse(name, `${name}_PREVIOUS`, 'Remove it when they have expired')
  return rotateDotenv(name, value)
}

// One previous secret is kept, so a rotation ends the tokens of the one before it.
function inUse(name: Rotatable, kept: string, remedy: string): SourceError {
  const effect = name === 'JWT_REFRESH_SECRET' ? 'their users would be logged out' : 'they would be refused'
  return new SourceError(
    'conflict',
    `was not rotated. Tokens of the secret in ${kept} may still be valid, and ${effect}. ${remedy}, or add --force.`,
  )
}

function previousFile(name: Rotatable, path: string, text: string | undefined): string {
  if (!text) return previousPath(path)
  const kept = pathIn(text)
  if (kept) return kept
  throw new SourceError(
    'malformed',
    `is in a file, but ${name}_PREVIOUS is not, and would not be what it was; remove it from where it is set`,
  )
}

function asymmetric(algorithm: Algorithm): Exclude<Algorithm, 'HS256'> {
  if (algorithm !== 'HS256') return algorithm
  throw new SourceError('malformed', 'is not in use: JWT_ALGORITHM is HS256; set it to RS256 or ES256')
}

// The old one first, so that none is lost: a server that starts in between reads one secret twice, and uses it once. Both
// are written before either is put in place. If that fails halfway, the previous one comes back.
async function rotateFile(
  name: Rotatable,
  { path, kept, value, keepMs }: { path: string; kept: string; value: string; keepMs: number },
) {
  const { value: old } = await readSecretFile(path, { own: true })
  const stats = await ownFile(kept)
  const before = stats && (await readFile(kept, 'utf8'))
  const keepUntil = (stats?.mtimeMs ?? 0) + keepMs
  // A rotation that was cut off may have left the current secret in both: then there is nothing to lose.
  const isOther = before !== undefined && !['', old.trim()].includes(before.trim())
  if (isOther && keepUntil > Date.now()) throw inUse(name, kept, `Wait until ${timeText(keepUntil)} UTC`)
  const drafts: Draft[] = []
  const draft = async (...file: Parameters<typeof draftFile>) => drafts.push(await draftFile(...file))
  try {
    await draft(kept, `${old}\n`, path)
    await draft(path, `${value}\n`)
    for (const { commit } of drafts) await commit()
  } catch (error) {
    for (const { discard } of drafts) await discard()
    if (before !== undefined) await (await draftFile(kept, before)).commit()
    throw notWritten(error)
  }
  return `a new secret is in ${path}, the old one in ${kept}; running servers load both by themselves`
}

function notWritten(error: unknown): Error {
  if (error instanceof SourceError) return error
  const code = codeOf(error)
  if (code !== 'EEXIST') return new Error(`nothing was changed, as a file could not be written (${code})`)
  const { path } = error as NodeJS.ErrnoException
  return new SourceError('conflict', `is being rotated by somebody else; if nobody is, remove ${path}`)
}

async function rotateDotenv(name: string, value: string): Promise<string> {
  const text = await readFile('.env', 'utf8')
  const [found, another] = text.matchAll(assignment(name))
  const [, start = '', old = ''] = found ?? []
  const kept = `${name}_PREVIOUS=${old}`
  const fresh = start + (value.includes('\n') ? JSON.stringify(value) : value)
  const hasPrevious = assignment(`${name}_PREVIOUS`).test(text)
  const rotated = text
    .replace(assignment(`${name}_PREVIOUS`), () => kept)
    .replace(assignment(name), () => (hasPrevious ? fresh : `${fresh}\n${kept}`))
  const [before, after] = [parse(text), parse(rotated)]
  if (another || after[`${name}_PREVIOUS`] !== before[name] || after[name] !== value)
    throw new SourceError('malformed', 'is not on one line of its own in .env; rotate it by hand')
  const draft = await draftFile('.env', rotated).catch((error) => {
    throw notWritten(error)
  })
  if ((await readFile('.env', 'utf8')) === text) await draft.commit()
  else {
    await draft.discard()
    throw new SourceError('conflict', 'was written by somebody else meanwhile; run it again')
  }
  return `a new secret is in .env, the old one in ${name}_PREVIOUS; restart the server`
}

/** What sets a variable in `.env`: what is before its value, and the value as written, over several lines in quotes. */
const assignment = (name: string) =>
  new RegExp(`^((?:export\\s+)?${name}[ \\t]*=[ \\t]*)("[^"]*"|'[^']*'|\`[^\`]*\`|[^\\s#]*)`, 'gm')
