import { open } from 'node:fs/promises'

/** One version of a secret. `createdAt` is in milliseconds since 1970. */
export interface SecretVersion {
  value: string
  createdAt: number
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
  return { versions: async () => [{ value, createdAt: 0 }] }
}

const maxFileBytes = 16 * 1024

// A file has no history, so the source keeps what it has seen. A new value counts from when it was first seen
// here: the time stamp of a file that was moved into place tells nothing about who else can have read it.
function fileSource(path: string): SecretSource {
  if (!path.startsWith('/')) throw new SourceError('must name an absolute path, ref+file:///path')
  let seen: SecretVersion[] = []
  return {
    async versions() {
      const value = await readSecretFile(path)
      if (value !== seen[0]?.value)
        seen = [
          { value, createdAt: seen.length === 0 ? 0 : Date.now() },
          ...seen.filter((version) => version.value !== value),
        ]
      return seen
    },
  }
}

// By the path at every read, so that an atomic replacement or the swap of a symbolic link is noticed.
async function readSecretFile(path: string): Promise<string> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw new SourceError(
      error.code === 'ENOENT'
        ? 'its file is missing; create it, or correct the path'
        : `its file cannot be read (${error.code}); mend its permissions or the path`,
    )
  })
  try {
    const stats = await file.stat()
    if (!stats.isFile()) throw new SourceError('its path is not a regular file; name the file itself')
    if (stats.size > maxFileBytes) throw new SourceError('its file is over 16 KiB; name the right file')
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await file.readFile())
    const value = text.replace(/\r?\n$/, '')
    if (value === '') throw new SourceError('its file is empty; write the secret into it')
    return value
  } catch (error) {
    if (error instanceof TypeError) throw new SourceError('its file is not UTF-8 text; name the right file')
    throw error
  } finally {
    await file.close()
  }
}
