// What tests look for in a page.
import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'

const axe = readFileSync('node_modules/axe-core/axe.min.js', 'utf8')

/** Where in a page one of these secrets is. */
export async function placesOf(secrets: string[]): Promise<string[]> {
  const places: Record<string, string> = {
    localStorage: JSON.stringify({ ...localStorage }),
    sessionStorage: JSON.stringify({ ...sessionStorage }),
    indexedDB: JSON.stringify(await indexedDB.databases()),
    caches: JSON.stringify(await caches.keys()),
    cookies: document.cookie,
    history: JSON.stringify(history.state) + location.href + document.referrer,
    // Browsers keep the address of the navigation for scripts of the page. No script can remove it.
    timing: JSON.stringify(performance.getEntries().filter(({ entryType }) => entryType !== 'navigation')),
    name: window.name,
    elements: document.documentElement.outerHTML,
  }
  // Everything that can be reached from the global object.
  const seen = new Set<unknown>()
  const queue: unknown[] = [globalThis]
  for (let next = queue.pop(); next !== undefined; next = queue.pop())
    for (const key of Reflect.ownKeys(next as object)) {
      let value: unknown
      try {
        value = Reflect.get(next as object, key)
      } catch {
        continue
      }
      if (value instanceof Promise) value.catch(() => {})
      if (typeof value === 'string') places.globals = `${places.globals ?? ''} ${value}`
      if (value === null || !['object', 'function'].includes(typeof value) || seen.has(value)) continue
      seen.add(value)
      queue.push(value)
    }
  return Object.entries(places)
    .filter(([, text]) => secrets.some((secret) => text.includes(secret)))
    .map(([place]) => place)
}

/** Returns the serious findings of axe, as the page is now. */
export async function accessibilityFindings(page: Page): Promise<string[]> {
  await page.evaluate(axe)
  const { violations } = await page.evaluate(() => Reflect.get(globalThis, 'axe').run({ preload: false }))
  return violations.map(({ id, impact }: { id: string; impact: string }) => `${impact}: ${id}`)
}
