import { z } from 'zod'
import { readSettings } from '../../config/config.ts'
import { takeEnvironment } from '../../config/environment.ts'
import { printable, table, timeText } from './table.ts'
import { parseOptions, UsageError } from './usage.ts'

// A server at a wrong URL may send anything.
const keyStatus = z.object({
  kid: z.string(),
  state: z.string(),
  source: z.string(),
  version: z.string().optional(),
  createdAt: z.number().min(0).max(8.64e15).optional(),
})
const keysReport = z.object({
  status: z.string(),
  loadAge: z.number(),
  failures: z.number(),
  access: z.array(keyStatus),
  refresh: z.array(keyStatus),
})

/** `secrets keys`: prints the keys of a running server. */
export async function keysCommand(args: string[]): Promise<void> {
  const address = addressOf(parseOptions(args, { url: { type: 'string' } }).values.url)
  const { status, loadAge, failures, access, refresh } = await fetchReport(address)
  const rows = [...access.map((key) => rowOf('access', key)), ...refresh.map((key) => rowOf('refresh', key))]
  const summary = `Status ${printable(status)}. Last full load ${Math.round(loadAge)} s ago. ${failures} failed loads.`
  process.stdout.write(`${table(rows)}\n${summary}\n`)
}

function addressOf(url: string | undefined): string {
  const { METRICS_PORT: port } = readSettings(takeEnvironment()).values
  if (!url && !port)
    throw new UsageError('METRICS_PORT is not set. Set it here and on the server, or use --url.')
  const address = url ?? `http://localhost:${port}`
  if (/^https?:/.test(address) && URL.canParse(address)) return address
  throw new UsageError('--url must be like http://10.0.0.7:9090.')
}

async function fetchReport(address: string): Promise<z.output<typeof keysReport>> {
  try {
    const response = await fetch(new URL('/keys', address), { signal: AbortSignal.timeout(5_000) })
    return keysReport.parse(await response.json())
  } catch {
    throw new Error(`No server answered at ${address}. Start it with METRICS_PORT, or correct --url.`)
  }
}

function rowOf(token: string, key: z.output<typeof keyStatus>) {
  const { kid, state, source, version = '-', createdAt } = key
  return { token, kid, state, source, version, created: timeText(createdAt) }
}
