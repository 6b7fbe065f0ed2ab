#!/usr/bin/env node
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import {
  ConfigError,
  exitConfig,
  loadConfig,
  platformEnvironment,
  readSettings,
  takeEnvironment,
} from '../config.ts'
import { checkSecrets, timeText } from './check.ts'
import { newPrivateKey, newSecret } from './generate.ts'
import type { KeyStatus } from './keyring.ts'
import type { KeysReport } from './keys.ts'
import { rotatable, rotate } from './rotate.ts'
import { isOutage, SourceError } from './source-error.ts'

const help = `Usage: npm run -s secrets -- COMMAND [OPTIONS]        (in the image: secrets COMMAND)

  generate                 print a new secret of 32 bytes; nothing is read or replaced
    --bytes 32|64            how long
    --format base64url|hex   how written
    --algorithm RS256|ES256  a private key for access tokens instead, PEM
    --env                    lines for .env: both secrets, or the private key and the refresh secret
    --out FILE               into a new file, for this user only; one that is there is left alone

  check                    read every setting and secret as the server would, and print where each version
                           of each secret stands; for a deployment, before the servers get it

  rotate VARIABLE          make a new secret where ${rotatable.join(', ')}
                           says that its secret lives: a new version in a store; in a file or in .env the
                           old one becomes the _PREVIOUS

  keys                     ask the running server which keys it has, at METRICS_PORT of this machine
    --url URL                or of another, such as http://10.0.0.7:9090

Settings come from the environment, and from .env in the working directory.
Exit codes: 0 done; 64 no such command or option; 78 a setting or secret is wrong; 1 anything else.
`

const exitUsage = 64 // EX_USAGE of sysexits.h

class UsageError extends Error {}

const commands = { generate, check, rotate: rotateVariable, keys }

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = exitCodeOf(error as Error)
}

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
    bytes: { type: 'string', default: '32' },
    format: { type: 'string', default: 'base64url' },
    algorithm: { type: 'string' },
    env: { type: 'boolean', default: false },
    out: { type: 'string' },
  }).values
  if (bytes !== '32' && bytes !== '64') throw new UsageError('--bytes must be 32 or 64')
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
  if (out === undefined) process.stdout.write(text)
  else writeNew(out, text)
  return 0
}

function writeNew(path: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new Error(
      code === 'EEXIST'
        ? `${path} is there already, and was left alone`
        : `${path} cannot be written (${code})`,
    )
  }
}

async function check(args: string[]): Promise<number> {
  options(args, {})
  const env = takeEnvironment()
  const settings = readSettings(env)
  const { rows, problems } = await checkSecrets(settings)
  process.stdout.write(table(rows))
  const lines = problems.map(({ name, message }) => `${name}: ${message}`)
  try {
    await loadConfig(env, settings)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    lines.push(...error.problems)
  }
  if (lines.length > 0) throw new ConfigError([...new Set(lines)])
  return 0
}

async function rotateVariable(args: string[]): Promise<number> {
  const [name, ...others] = options(args, {}).positionals
  const variable = rotatable.find((other) => other === name)
  if (!variable || others.length > 0) throw new UsageError(`rotate needs one of ${rotatable.join(', ')}`)
  const platform = platformEnvironment()
  const { values, texts, openSource } = readSettings(takeEnvironment())
  try {
    const done = await rotate(variable, {
      texts,
      platform,
      openSource,
      algorithm: values.JWT_ALGORITHM ?? 'HS256',
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
    .then((response) => response.json() as Promise<KeysReport>)
    .then((report) =>
      Array.isArray(report.access) && Array.isArray(report.refresh) ? report : Promise.reject(),
    )
    .catch(() => {
      throw new Error(`no server answers at ${address}: start it with METRICS_PORT, or correct --url`)
    })
  const rows = (['access', 'refresh'] as const).flatMap((token) =>
    report[token].map((key) => keyRow(token, key)),
  )
  process.stdout.write(
    `${table(rows)}\nstatus ${report.status}, all read ${Math.round(report.loadAge)} s ago, ${report.failures} failed loads\n`,
  )
  return 0
}

function keyRow(token: string, { kid, state, source, version, createdAt }: KeyStatus) {
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

function table<Row extends { [column in keyof Row]: string }>(rows: Row[]): string {
  const names = Object.keys(rows[0] ?? {}) as (keyof Row & string)[]
  const lines = [
    names.map((name) => name.toUpperCase()),
    ...rows.map((row) => names.map((name) => row[name] ?? '')),
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
