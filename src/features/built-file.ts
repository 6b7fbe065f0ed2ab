import { readFileSync, statSync } from 'node:fs'

const contents = new Map<string, { modified: number; text: string; bytes: Buffer }>()

/**
 * Reads a file that is built from src/client. Reads it again when it has changed, because `npm run build:client` may build
 * it again. All responses share the bytes. Otherwise each client that does not read its response would hold a copy in
 * memory.
 */
export function read(name: string) {
  const file = new URL(`../../dist/client/${name}`, import.meta.url)
  const { mtimeMs: modified } = statSync(file)
  const known = contents.get(name)
  if (known?.modified === modified) return known
  const bytes = readFileSync(file)
  const content = { modified, text: bytes.toString(), bytes }
  contents.set(name, content)
  return content
}
