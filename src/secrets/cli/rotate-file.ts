import { readFile } from 'node:fs/promises'
import { parse } from 'dotenv'
import { codeOf } from '../../errors.ts'
import { conflict, malformed, SourceError } from '../source-error.ts'
import { type Draft, draftFile, ownFile } from '../stores/file/draft-file.ts'
import { readSecretFile } from '../stores/file/file.ts'

/**
 * Puts a new secret into a file, and the old one into `kept`. The old secret goes first, so that no server misses it: one
 * that starts in between reads one secret twice, and uses it once. Both files are written before either is put in place.
 * If that fails halfway, the content of `kept` comes back.
 * @param keepMs how long a secret in `kept` is in use, in milliseconds
 * @param inUse returns the error for a secret in `kept` that is in use until then
 */
export async function rotateFile(
  { path, kept, value }: { path: string; kept: string; value: string },
  { keepMs, inUse, clock }: { keepMs: number; inUse: (until: number) => Error; clock: () => number },
): Promise<string> {
  const { value: old } = await readSecretFile(path, { own: true })
  const stats = await ownFile(kept)
  const before = stats && (await readFile(kept, 'utf8'))
  const keepUntil = (stats?.mtimeMs ?? 0) + keepMs
  // A rotation that was cut off may have left the current secret in both files. Then nothing can be lost.
  const isOther = before !== undefined && !['', old.trim()].includes(before.trim())
  if (isOther && keepUntil > clock()) throw inUse(keepUntil)
  const drafts: Draft[] = []
  try {
    drafts.push(await draftFile(kept, `${old}\n`, path))
    drafts.push(await draftFile(path, `${value}\n`))
    for (const { commit } of drafts) await commit()
  } catch (error) {
    for (const { discard } of drafts) await discard()
    if (before !== undefined) await (await draftFile(kept, before)).commit()
    throw notWritten(error)
  }
  return `A new secret is in ${path}, the old one in ${kept}. Running servers load both by themselves.`
}

/** Sets a variable in `.env` to a new secret, and its `_PREVIOUS` to the old one. Leaves everything else as it is. */
export async function rotateDotenv(name: string, value: string): Promise<string> {
  const text = await readFile('.env', 'utf8')
  const rotated = rotatedText(text, name, value)
  const draft = await draftFile('.env', rotated).catch((error) => {
    throw notWritten(error)
  })
  if ((await readFile('.env', 'utf8')) !== text) {
    await draft.discard()
    throw conflict('was written by another process in the meantime. Run the command again.')
  }
  await draft.commit()
  return `A new secret is in .env, the old one in ${name}_PREVIOUS. Restart the server.`
}

function rotatedText(text: string, name: string, value: string): string {
  const previous = `${name}_PREVIOUS`
  const [found, another] = text.matchAll(assignment(name))
  const [, start = '', old = ''] = found ?? []
  const kept = `${previous}=${old}`
  const fresh = start + (value.includes('\n') ? JSON.stringify(value) : value)
  const hasPrevious = assignment(previous).test(text)
  const rotated = text
    .replace(assignment(previous), () => kept)
    .replace(assignment(name), () => (hasPrevious ? fresh : `${fresh}\n${kept}`))
  // dotenv decides what both texts mean, and not the expression below.
  const [before, after] = [parse(text), parse(rotated)]
  if (!another && after[previous] === before[name] && after[name] === value) return rotated
  throw malformed('is not on a line of its own in .env. Rotate it by hand.')
}

/** Matches what sets a variable in `.env`: the text before its value, and the value as written, in quotes or not. */
const assignment = (name: string) =>
  new RegExp(`^((?:export\\s+)?${name}[ \\t]*=[ \\t]*)("[^"]*"|'[^']*'|\`[^\`]*\`|[^\\s#]*)`, 'gm')

function notWritten(error: unknown): Error {
  if (error instanceof SourceError) return error
  if (codeOf(error) !== 'EEXIST')
    return new Error(
      `Nothing was changed, because a file could not be written (${codeOf(error)}). Check its folder.`,
    )
  const { path } = error as NodeJS.ErrnoException
  return conflict(`is being rotated by another process. If there is none, remove ${path}.`)
}
