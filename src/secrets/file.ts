import { isUtf8 } from 'node:buffer'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { SourceError } from './source-error.ts'

const maxFileBytes = 16 * 1024
const scheme = 'ref+file://'

/** The path that a reference to a file names; undefined of what is none. */
export function pathIn(text: string | undefined): string | undefined {
  return text?.startsWith(scheme) ? text.slice(scheme.length) : undefined
}

/**
 * The secret in a file, without one trailing newline. By the path at every read, so that an atomic replacement or the
 * swap of a symbolic link is noticed. Throws SourceErrors.
 */
export async function readSecretFile(path: string): Promise<string> {
  let bytes: Buffer
  try {
    bytes = await readRegularFile(path)
  } catch (error) {
    if (error instanceof SourceError) throw error
    const { code } = error as NodeJS.ErrnoException
    throw code === 'ENOENT'
      ? new SourceError('absent', 'its file is missing; create it, or correct the path')
      : new SourceError('absent', `its file cannot be read (${code}); mend its permissions or the path`)
  }
  if (!isUtf8(bytes)) throw new SourceError('malformed', 'its file is not UTF-8 text; name the right file')
  const value = bytes.toString().replace(/\r?\n$/, '')
  if (value === '') throw new SourceError('malformed', 'its file is empty; write the secret into it')
  return value
}

// Without O_NONBLOCK, opening a named pipe would wait for somebody to write to it.
async function readRegularFile(path: string): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    if (!(await file.stat()).isFile())
      throw new SourceError('malformed', 'its path is not a regular file; name the file itself')
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxFileBytes + 1))
    if (bytesRead > maxFileBytes)
      throw new SourceError('malformed', 'its file is over 16 KiB; name the right file')
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}
