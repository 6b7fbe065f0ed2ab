import { isUtf8 } from 'node:buffer'
import { constants, type Stats } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { codeOf } from '../../../errors.ts'
import { absent, malformed, SourceError } from '../../source-error.ts'
import { foreign, isOwn, linked } from './draft-file.ts'

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants
const maxFileBytes = 16 * 1024
const scheme = 'ref+file://'

/** The content of a secret file. */
export interface SecretFile {
  /** The text, without one trailing newline. */
  value: string
  /** Milliseconds since 1970. */
  modifiedAt: number
  /** What to change about the file. The file can be used anyway. */
  warning?: string
}

/** Returns the path that a reference to a file names; undefined for other text. */
export function pathIn(text: string | undefined): string | undefined {
  return text?.startsWith(scheme) ? text.slice(scheme.length) : undefined
}

/** Returns where a rotation keeps the secret that a file held before. */
export const previousPath = (path: string) => `${path}.previous`

/** Returns whether bytes are UTF-16, as Windows PowerShell writes it: by its byte order mark, or by a NUL. */
export function isUtf16(bytes: Buffer): boolean {
  return /^(fffe|feff)/.test(bytes.toString('hex', 0, 2)) || bytes.includes(0)
}

/**
 * Reads the secret in a file. Opens the path at every read, to notice an atomic replacement or the swap of a symbolic link.
 * Throws SourceErrors.
 * @param own refuses symbolic links, and files of other users
 */
export async function readSecretFile(path: string, { own = false } = {}): Promise<SecretFile> {
  const { bytes, stats } = await readRegularFile(path, own).catch((error: unknown) => {
    if (error instanceof SourceError) throw error
    const code = codeOf(error)
    if (own && code === 'ELOOP') throw malformed(linked(path))
    throw code === 'ENOENT'
      ? absent(`The file ${path} is missing. Create it, or correct the path.`)
      : absent(`The file ${path} cannot be read (${code}). Fix its permissions, or correct the path.`)
  })
  if (isUtf16(bytes)) throw malformed('The file is UTF-16. Save it as UTF-8.')
  if (!isUtf8(bytes)) throw malformed('The file is not UTF-8 text. Name the right file.')
  const value = bytes.toString().replace(/\r?\n$/, '')
  if (value === '') throw malformed('The file is empty. Write the secret into it.')
  const warning = await writableByAll(path, stats)
  return { value, modifiedAt: stats.mtimeMs, ...(warning && { warning }) }
}

// Without O_NONBLOCK, opening a named pipe would wait for a writer.
async function readRegularFile(path: string, own: boolean): Promise<{ bytes: Buffer; stats: Stats }> {
  const file = await open(path, O_RDONLY | O_NONBLOCK | (own ? O_NOFOLLOW : 0))
  try {
    const stats = await file.stat()
    if (!stats.isFile()) throw malformed('The path is not a regular file. Name the file itself.')
    if (own && !isOwn(stats)) throw malformed(foreign(path))
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxFileBytes + 1))
    if (bytesRead > maxFileBytes) throw malformed('The file is over 16 KiB. Name the right file.')
    return { bytes: buffer.subarray(0, bytesRead), stats }
  } finally {
    await file.close()
  }
}

const othersWrite = 0o002
const sticky = 0o1000

/**
 * Returns a warning if every user can write a file, or replace it in its folder. Windows has no such modes.
 * @param stats the state of the file, if it is open
 */
export async function writableByAll(path: string, stats?: Stats): Promise<string | undefined> {
  if (process.platform === 'win32') return undefined
  const file = stats ?? (await stat(path).catch(() => undefined))
  if (!file) return undefined
  if (file.mode & othersWrite) return 'Every user can write the file. Run chmod o-w on it.'
  const folder = await stat(dirname(path)).catch(() => undefined)
  const replaceable = folder && folder.mode & othersWrite && !(folder.mode & sticky)
  return replaceable ? 'Every user can replace the file. Run chmod o-w on its folder.' : undefined
}
