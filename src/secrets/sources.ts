import { isUtf8 } from 'node:buffer'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

/** One version of a secret. `createdAt` is in milliseconds since 1970; undefined where the store does not keep it. */
export interface SecretVersion {
  value: string
  createdAt?: number
}

/** Where a secret comes from: its versions, newest first. Reading throws a SourceError that says how to mend it. */
export interface SecretSource {
  versions(): Promise<SecretVersion[]>
}

/** A source that cannot be read. The message names what is wrong, never the secret. */
export class SourceError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'SourceError'
  }
}

const schemes = new Map<string, (location: string) => SecretSource>([['file', fileSource]])

/**
 * Opens what the text of a secret variable says: the secret itself, or `ref+SCHEME://LOCATION`, where it lives
 * (the syntax of helmfile/vals).
 * @throws SourceError for a reference that is malformed or of an unknown scheme
 */
export function openSource(text: string): SecretSource {
  if (!text.startsWith('ref+')) return environmentSource(text)
  const [, scheme, location] = /^ref\+([a-z0-9]+):\/\/(.+)$/s.exec(text) ?? []
  const open = schemes.get(scheme ?? '')
  const known = [...schemes.keys()].map((name) => `ref+${name}://`).join(', ')
  if (!open || !location) throw new SourceError(`is not a reference this server can read; it reads ${known}`)
  return open(location)
}

function environmentSource(value: string): SecretSource {
  return { versions: async () => [{ value }] }
}

const maxFileBytes = 16 * 1024

// Its time stamp is left alone: that of a file moved into place tells nothing about who can have read it since.
function fileSource(path: string): SecretSource {
  if (!path.startsWith('/')) throw new SourceError('must name an absolute path, ref+file:///path')
  return { versions: async () => [{ value: await readSecretFile(path) }] }
}

// By the path at every read, so that an atomic replacement or the swap of a symbolic link is noticed.
async function readSecretFile(path: string): Promise<string> {
  let bytes: Buffer
  try {
    bytes = await readRegularFile(path)
  } catch (error) {
    if (error instanceof SourceError) throw error
    const { code } = error as NodeJS.ErrnoException
    throw new SourceError(
      code === 'ENOENT'
        ? 'its file is missing; create it, or correct the path'
        : `its file cannot be read (${code}); mend its permissions or the path`,
    )
  }
  if (!isUtf8(bytes)) throw new SourceError('its file is not UTF-8 text; name the right file')
  const value = bytes.toString().replace(/\r?\n$/, '')
  if (value === '') throw new SourceError('its file is empty; write the secret into it')
  return value
}

// Without O_NONBLOCK, opening a named pipe would wait for somebody to write to it.
async function readRegularFile(path: string): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    if (!(await file.stat()).isFile())
      throw new SourceError('its path is not a regular file; name the file itself')
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxFileBytes + 1))
    if (bytesRead > maxFileBytes) throw new SourceError('its file is over 16 KiB; name the right file')
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}
