import { engine, present } from './engine.ts'

/** Says once that the browser is missing. Throws if CI is set. */
export default function requireBrowser(): void {
  if (present) return
  const missing = `${engine} is not installed, so its suites are skipped. docs/CONTRIBUTING.md says how to install it.`
  if (process.env.CI) throw new Error(missing)
  process.stderr.write(`${missing}\n`)
}
