import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { platformEnvironment } from '../../config/environment.ts'
import { codeOf } from '../../errors.ts'
import type { Algorithm } from '../key.ts'
import { parseOptions, UsageError } from './usage.ts'

/** Returns a new shared secret from the CSPRNG: by default 48 bytes, as 64 characters. */
export function newSecret(bytes = 48, format: 'base64url' | 'hex' = 'base64url'): string {
  return randomBytes(bytes).toString(format)
}

/** Returns a new private key in PEM (PKCS 8): RSA of 3072 bits for RS256, P-256 for ES256. */
export function newPrivateKey(algorithm: Exclude<Algorithm, 'HS256'>): string {
  const { privateKey } =
    algorithm === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 3072 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/** `secrets generate`: prints a new secret, or writes it to a new file. */
export function generateCommand(args: string[]): void {
  const { bytes, format, algorithm, env, out } = parseOptions(args, {
    bytes: { type: 'string', default: '48' },
    format: { type: 'string', default: 'base64url' },
    algorithm: { type: 'string' },
    env: { type: 'boolean', default: false },
    out: { type: 'string' },
  }).values
  if (!['32', '48', '64'].includes(bytes)) throw new UsageError('--bytes must be 32, 48 or 64.')
  if (format !== 'base64url' && format !== 'hex') throw new UsageError('--format must be base64url or hex.')
  if (algorithm !== undefined && algorithm !== 'RS256' && algorithm !== 'ES256')
    throw new UsageError('--algorithm must be RS256 or ES256.')
  const secret = () => newSecret(Number(bytes), format)
  const access = algorithm ? newPrivateKey(algorithm) : `${secret()}\n`
  const text = env ? linesForDotenv(access, secret(), algorithm) : access
  if (out === undefined) process.stdout.write(text)
  else writeNew(out, text)
  if (out === undefined && !env && isUnderBanner()) process.stderr.write(underBanner)
}

function linesForDotenv(access: string, refresh: string, algorithm: string | undefined): string {
  const lines = algorithm
    ? `JWT_ALGORITHM=${algorithm}\nJWT_ACCESS_PRIVATE_KEY=${JSON.stringify(access)}\n`
    : `JWT_ACCESS_SECRET=${access}`
  return `${lines}JWT_REFRESH_SECRET=${refresh}\n`
}

// npm writes two lines about the script to standard output. In a file of secrets they are an error, in a terminal not.
function isUnderBanner(): boolean {
  const { npm_lifecycle_event, npm_config_loglevel } = platformEnvironment()
  return npm_lifecycle_event !== undefined && npm_config_loglevel !== 'silent' && !process.stdout.isTTY
}
const underBanner =
  'npm wrote lines of its own above the secret. Leave them out, or run: npm run -s secrets -- generate\n'

function writeNew(path: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if (codeOf(error) === 'EEXIST')
      throw new Error(`${path} exists already, and was not changed. Choose another file.`)
    throw new Error(`${path} cannot be written (${codeOf(error)}). Choose another file, or check its folder.`)
  }
}
