import { chown, open, realpath, rename, rm, stat } from 'node:fs/promises'

/** The new content of a file, written beside it and not in its place yet. */
export interface Draft {
  /** Puts it in place at once, so that nobody ever reads a half of it. */
  commit(): Promise<void>
  discard(): Promise<void>
}

/**
 * Drafts a file anew, with the mode and the owner it has. Through a symbolic link, as the link itself belongs to
 * somebody else. As long as the draft is there, nobody else gets one of the same file: that fails with EEXIST.
 * @param like the file whose mode and owner it gets where there is none yet
 */
export async function draftFile(path: string, content: string, like = path): Promise<Draft> {
  const target = await realpath(path).catch(() => path)
  const old = await stat(target).catch(() => stat(like))
  const draft = `${target}.new`
  const discard = () => rm(draft, { force: true })
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.writeFile(content)
    if (old.uid !== process.getuid?.() || old.gid !== process.getgid?.()) await chown(draft, old.uid, old.gid)
    await file.chmod(old.mode & 0o7777)
    await file.sync()
  } catch (error) {
    await discard()
    throw error
  } finally {
    await file.close()
  }
  return { commit: () => rename(draft, target), discard }
}
