import type { Stats } from 'node:fs'
import { chown, lstat, open, rename, rm } from 'node:fs/promises'
import { codeOf } from '../../../errors.ts'
import { malformed } from '../../source-error.ts'

/** The new content of a file, in a file beside it. */
export interface Draft {
  /** Replaces the file at once, so that no reader gets a half of it. */
  commit(): Promise<void>
  discard(): Promise<void>
}

/**
 * Drafts the new content of a file, with its mode and group. While the draft exists, another draft of the same file fails
 * with EEXIST. Writes through no link, because the draft is a new file that replaces the old one. Follows links among the
 * parent folders.
 * @param like a file with the same secrecy. The draft gets the group of this file, and at most its permissions
 * @throws SourceError if one of the files is a symbolic link or belongs to another user
 */
export async function draftFile(path: string, content: string, like = path): Promise<Draft> {
  const model = await ownFile(like)
  const old = await ownFile(path)
  const draft = `${path}.new`
  const discard = () => rm(draft, { force: true })
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.writeFile(content)
    if (model && model.gid !== process.getgid?.()) await chown(draft, model.uid, model.gid)
    if (model) await file.chmod(model.mode & (old ?? model).mode & 0o7777)
    await file.sync()
  } catch (error) {
    await discard()
    throw error
  } finally {
    await file.close()
  }
  return { commit: () => rename(draft, path), discard }
}

/**
 * Returns the state of a file before its replacement. The link or file of another user could hand the old secret to that
 * user, and the old secret still verifies after the rotation.
 * @returns undefined if there is no file
 * @throws SourceError if it is a symbolic link or belongs to another user
 */
export async function ownFile(path: string): Promise<Stats | undefined> {
  const stats = await lstat(path).catch((error) => {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  })
  if (stats?.isSymbolicLink()) throw malformed(linked(path))
  if (stats && !isOwn(stats)) throw malformed(foreign(path))
  return stats
}

/** Returns whether a file belongs to the user of this process. Windows has no numbers of users. */
export const isOwn = ({ uid }: Stats) => uid === (process.getuid?.() ?? uid)

export const linked = (path: string) =>
  `cannot be rotated, because ${path} is a symbolic link. Name the file itself, or remove the link.`
export const foreign = (path: string) =>
  `cannot be rotated, because ${path} belongs to another user. Run this as its owner, or remove the file.`
