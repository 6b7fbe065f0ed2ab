#!/usr/bin/env node
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { loadConfig, readSettings } from '../../config/config.ts'
import { ConfigError, exitConfig } from '../../config/config-error.ts'
import { platformEnvironment, takeEnvironment } from '../../config/environment.ts'
import { codeOf } from '../../errors.ts'
import { verifyingMs } from '../keyring.ts'
import { isOutage, SourceError } from '../source-error.ts'
import { checkSecrets, secretAges, timeText } from './check.ts'
import { newPrivateKey, newSecret } from './generate.ts'
import { rotatable, rotate } from './rotate.ts'

const help = `Usage: npm run -s secrets -- COMMAND [OPTIONS]        (in the image: secrets COMMAND)

  generate                 print a new secret of 48 bytes; nothing is read or replaced
    --bytes 32|48|64         how long
    --format base64url|hex   how written
    --algorithm RS256|ES256  a private key for access tokens instead, PEM
    --env                    lines for .env: both secrets, or the private key and the refresh secret
    --out FILE               into a new file, for this user only; one that is there is left alone

  check                    read every setting and secret as the server would, and print where each version
                           of each secret stands; for a deployment, before the servers get it
    --max-age 90d            exit with 78 if a secret is older; in days, h, m or s

  rotate VARIABLE          make a new secret where ${rotatable.join(', ')}
                           says that its secret lives: a new version in a store; in a file or in .env the
                           old one becomes the _PREVIOUS
    --force                  even if tokens of the _PREVIOUS that is there may still be valid

  keys                     ask the running server which keys it has, at METRICS_PORT of this machine
    --url URL                or of another, such as http://10.0.0.7:9090

Settings come from the environment, and from .env in the working directory.
Exit codes: 0 done; 64 no such command or option; 78 a setting or secret is wrong; 1 anything else.
`

const exitUsage = 64 // EX_USAGE of sysexits.h

class UsageError extends Error {}

const commands = { generate, check, rotate: rotateVariable, keys }

function exitCodeOf(error: Error): number {
  if (error instanceof UsageError) return exitUsage
  if (error instanceof ConfigError) return exitConfig
  const settled =
    error instanceof SourceError && !isOutage(error.fault) && !['denied', 'conflict'].includes(error.fault)
  return settled ? exitConfig : 1
}

async function main([name = '', ...args]: string[]): Promise<number> {
  if (name === '' || name === '--help' || name === 'help' || args.includes('--help')) {
    process.stdout.write(help)
    return name === '' ? exitUsage : 0
  }
  if (!Object.hasOwn(commands, name))
    throw new UsageError(`no such command: try one of ${Object.keys(commands).join(', ')}, or --help`)
  return commands[name as keyof typeof commands](args)
}

function generate(args: string[]): number {
  const { bytes, format, algorithm, env, out } = options(args, {
    bytes: { type: 'string', default: '48' },
    format: { type: 'string', default: 'base64url' },
    algorithm: { type: 'string' },
    env: { type: 'boolean', default: false },
    out: { type: 'string' },
  }).values
  if (!['32', '48', '64'].includes(bytes)) throw new UsageError('--bytes must be 32, 48 or 64')
  if (format !== 'base64url' && format !== 'hex') throw new UsageError('--format must be base64url or hex')
  if (algorithm !== undefined && algorithm !== 'RS256' && algorithm !== 'ES256')
    throw new UsageError('--algorithm must be RS256 or ES256')
  const secret = () => newSecret(Number(bytes), format)
  const lines = algorithm
    ? [`JWT_ALGORITHM=${algorithm}`, `JWT_ACCESS_PRIVATE_KEY=${JSON.stringify(newPrivateKey(algorithm))}`]
    : [`JWT_ACCESS_SECRET=${secret()}`]
  const text = env
    ? `${[...lines, `JWT_REFRESH_SECRET=${secret()}`].join('\n')}\n`
    : algorithm
      ? newPrivateKey(algorithm)
      : `${secret()}\n`
  if (out !== undefined) writeNew(out, text)
  else process.stdout.write(text)
  if (out === undefined && !env && isUnderBanner()) process.stderr.write(underBanner)
  return 0
}

// npm writes two lines about the script to the same output. In a terminal they do no harm; in .env they are no settings.
const isUnderBanner = () =>
  process.env.npm_lifecycle_event !== undefined &&
  process.env.npm_config_loglevel !== 'silent' &&
  !process.stdout.isTTY
const underBanner =
  'npm has written lines of its own in front. Leave them out, or run: npm run -s secrets -- generate\n'

function writeNew(path: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    const code = codeOf(error)
    throw new Error(
      code === 'EEXIST'
        ? `${path} is there already, and was left alone`
        : `${path} cannot be written (${code})`,
    )
  }
}

async function check(args: string[]): Promise<number> {
  const { 'max-age': maxAge } = options(args, { 'max-age': { type: 'string' } }).values
  const maxAgeMs = maxAge === undefined ? undefined : durationMs(maxAge)
  const env = takeEnvironment()
  const settings = readSettings(env)
  const { rows, problems, versions } = await checkSecrets(settings)
  process.stdout.write(table(rows))
  const lines = problems.map(({ name, message }) => `${name}: ${message}`)
  if (maxAgeMs !== undefined) {
    const { old, undated } = secretAges(versions, Date.now(), maxAgeMs)
    for (const name of undated)
      process.stderr.write(`${name}: has an age that only you know, because the environment keeps no dates\n`)
    for (const name of old)
      lines.push(`${name}: is older than ${maxAge}; rotate it: npm run secrets -- rotate ${name}`)
  }
  try {
    const { fileWarnings } = await loadConfig(env, { settings })
    for (const warning of fileWarnings) process.stderr.write(`${warning}\n`)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    lines.push(...error.problems)
  }
  if (lines.length > 0) throw new ConfigError([...new Set(lines)])
  return 0
}

const unitMs = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000 }

function durationMs(text: string): number {
  const [, count = '', unit = ''] = /^([1-9]\d{0,8})([dhms])$/.exec(text) ?? []
  if (!count) throw new UsageError('--max-age must be like 90d, 12h, 30m or 45s')
  return Number(count) * unitMs[unit as keyof typeof unitMs]
}

async function rotateVariable(args: string[]): Promise<number> {
  const {
    positionals: [name, ...others],
    values: { force },
  } = options(args, { force: { type: 'boolean', default: false } })
  const variable = rotatable.find((other) => other === name)
  if (!variable || others.length > 0) throw new UsageError(`rotate needs one of ${rotatable.join(', ')}`)
  const platform = platformEnvironment()
  const { values, texts, openSource } = readSettings(takeEnvironment())
  const isAccess = variable !== 'JWT_REFRESH_SECRET'
  const algorithm = values.JWT_ALGORITHM ?? 'HS256'
  try {
    const done = await rotate(variable, {
      texts,
      platform,
      openSource,
      algorithm,
      force,
      keepMs: verifyingMs({
        refreshSeconds: values.SECRETS_REFRESH_SECONDS ?? 60,
        tokenSeconds: isAccess
          ? (values.ACCESS_TOKEN_SECONDS ?? 900)
          : (values.SESSION_IDLE_SECONDS ?? 604_800),
        algorithm: isAccess ? algorithm : 'HS256',
      }),
    })
    process.stdout.write(`${variable}: ${done}\n`)
  } catch (error) {
    if (error instanceof SourceError) throw new SourceError(error.fault, `${variable}: ${error.message}`)
    throw error
  }
  return 0
}

async function keys(args: string[]): Promise<number> {
  const { url } = options(args, { url: { type: 'string' } }).values
  const { METRICS_PORT: port } = readSettings(takeEnvironment()).values
  if (!url && !port) throw new UsageError('set METRICS_PORT, here and of the server; or give --url')
  const address = url ?? `http://localhost:${port}`
  if (!/^https?:/.test(address) || !URL.canParse(address))
    throw new UsageError('--url must be like http://10.0.0.7:9090')
  const report = await fetch(new URL('/keys', address), { signal: AbortSignal.timeout(5_000) })
    .then(async (response) => keysReport.parse(await response.json()))
    .catch(() => {
      throw new Error(`no server answers at ${address}: start it with METRICS_PORT, or correct --url`)
    })
  const rows = (['access', 'refresh'] as const).flatMap((token) =>
    report[token].map((key) => keyRow(token, key)),
  )
  const { status, loadAge, failures } = report
  process.stdout.write(
    `${table(rows)}\nstatus ${printable(status)}, all read ${Math.round(loadAge)} s ago, ${failures} failed loads\n`,
  )
  return 0
}

// Whoever answers at the URL writes these texts.
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

function keyRow(token: string, { kid, state, source, version, createdAt }: z.output<typeof keyStatus>) {
  return { token, kid, state, source, version: version ?? '-', created: timeText(createdAt) }
}

type Options = NonNullable<Parameters<typeof parseArgs>[0]>['options'] & {}

function options<const T extends Options>(args: string[], wanted: T) {
  try {
    return parseArgs({ args, options: wanted, allowPositionals: true, strict: true })
  } catch (error) {
    throw new UsageError(`${(error as Error).message}; try --help`)
  }
}

// A terminal obeys control characters (C0, DEL, C1) and the marks that turn the direction of text.
const printable = (text: string) => text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '')

function table<Row extends { [column in keyof Row]: string }>(rows: Row[]): string {
  const names = Object.keys(rows[0] ?? {}) as (keyof Row & string)[]
  const lines = [
    names.map((name) => name.toUpperCase()),
    ...rows.map((row) => names.map((name) => printable(row[name] ?? ''))),
  ]
  const widths = names.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = exitCodeOf(error as Error)
}
