import { readFileSync, writeFileSync } from 'node:fs'
import { expect } from '@jest/globals'

/**
 * Expects that a part of a page is up to date. `npm run docs` writes the part instead.
 * @param find matches the part, and nothing else
 */
export function expectPart(page: string, find: RegExp, part: string): void {
  const text = readFileSync(page, 'utf8')
  const found = find.exec(text)?.[0]
  if (process.env.DOCS === 'write' && found !== undefined) {
    writeFileSync(
      page,
      text.replace(find, () => part),
    )
    return
  }
  expect(found === part ? '' : `${page} is out of date. Run npm run docs. It has to say:\n${part}`).toBe('')
}
