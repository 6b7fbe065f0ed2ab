import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'
import { parse as parseDotenv } from 'dotenv'
import { codeOf } from '../errors.ts'
import { secretNames } from '../secrets/load-secrets.ts'
import { isUtf16, pathIn, previousPath } from '../secrets/stores/file/file.ts'
import type { Environment } from '../secrets/stores/secret-store.ts'
import { ConfigError } from './config-error.ts'
import { type FeatureSettings, settings } from './settings.ts'

/** The raw values of variables, by name. */
export type Texts = Record<string, string | undefined>

/** Variables that may hold a reference to their value, `ref+…`, or come as `NAME_FILE`. */
export const referenceNames = [
  ...secretNames,
  'DATABASE_URL',
  'SMTP_URL',
  'VAULT_TOKEN',
  'VAULT_SECRET_ID',
] as const

// The SDKs of stores read these from `process.env` themselves, at any time.
const ofSdks = /^(AWS|AZURE|GOOGLE|GCLOUD|IDENTITY)_/

/** Returns the variables set outside of `.env`. Call it before `takeEnvironment`. */
export const platformEnvironment = (): Environment => ({ ...process.env })

/**
 * Returns the environment of the process, completed by `.env` of the working directory. Takes the secrets out of
 * `process.env`, so that no child process and no report of the environment contains them.
 * @throws ConfigError if `.env` cannot be read, or dotenv would read a line of it wrongly
 */
export function takeEnvironment(features: readonly FeatureSettings[] = []): Environment {
  const set = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== ''))
  const environment = { ...readDotenv(set, features), ...set }
  for (const name of referenceNames) delete process.env[name]
  for (const [name, value] of Object.entries(environment)) if (ofSdks.test(name)) process.env[name] = value
  return environment
}

function readDotenv(set: Environment, features: readonly FeatureSettings[]): Environment {
  const text = textOfDotenv()
  const cut = cutByComment(text).filter((name) => !(name in set) && isRead(name, features))
  const problems = [
    ...cut.map((name) => `${name}: An unquoted # cuts it off in .env. Put the value in quotes.`),
    ...linesWithoutName(text).map(
      (line) => `.env: line ${line} has no =. Write NAME=value, or begin the line with #.`,
    ),
  ]
  if (problems.length > 0) throw new ConfigError(problems)
  return parseDotenv(text)
}

function textOfDotenv(): string {
  const bytes = bytesOfDotenv()
  if (isUtf8(bytes) && !isUtf16(bytes)) return bytes.toString().replace(/^\ufeff/, '')
  throw new ConfigError([`.env: is ${isUtf16(bytes) ? 'UTF-16' : 'not UTF-8'}. Save it as UTF-8.`])
}

function bytesOfDotenv(): Buffer {
  try {
    return readFileSync('.env')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return Buffer.alloc(0)
    throw new ConfigError([`.env: cannot be read (${codeOf(error)}). Fix its permissions, or remove it.`])
  }
}

// dotenv takes everything after an unquoted # for a comment, also inside a reference, a password or a URL. A real comment
// has a blank before its #.
const unquotedHash = /^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*[=:](?![ \t]*["'`])(?:[^#\r\n]*[^#\s])?#/gm
const cutByComment = (text: string) => [...text.matchAll(unquotedHash)].map(([, name = '']) => name)

// dotenv skips such lines silently. This does not apply to lines inside a quoted value.
function linesWithoutName(text: string): number[] {
  const value = /^[ \t]*(?:export[ \t]+)?[\w.-]+[ \t]*[=:][ \t]*(?:"(?:\\"|[^"])*"|'[^']*'|`[^`]*`)?/gm
  const bare = text.replace(value, (match) => match.replace(/[^\n]+/g, '#'))
  return bare.split('\n').flatMap((line, index) => (/^\s*[^#\s]/.test(line) ? [index + 1] : []))
}

/** Returns whether this server, or the SDK of a store, reads a variable. */
function isRead(name: string, features: readonly FeatureSettings[]): boolean {
  const declared = [settings.shape, ...features.map((feature) => feature.settings ?? {})]
  return ofSdks.test(name) || declared.some((shape) => Object.hasOwn(shape, name.replace(/_FILE$/, '')))
}

/**
 * Returns the raw values of variables, by name: undefined if empty, and `ref+file://PATH` for `NAME_FILE=PATH`.
 * @returns `texts`, with `problems` of variables that are set twice
 */
export function readTexts(env: Environment, names: readonly string[]) {
  const problems: string[] = []
  const texts: Texts = {}
  for (const name of names) texts[name] = env[name] || undefined
  for (const name of referenceNames) {
    const path = env[`${name}_FILE`]
    if (!path) continue
    if (texts[name])
      problems.push(`${name}: ${name}_FILE is set too, in the environment or in .env. Keep one of the two.`)
    texts[name] = `ref+file://${path}`
  }
  return { texts: withPreviousFiles(texts), problems }
}

// Beside a secret file is the file of the previous secret. `secrets rotate` writes it.
function withPreviousFiles(texts: Texts): Texts {
  const result = { ...texts }
  for (const name of secretNames) {
    const path = pathIn(texts[name])
    if (path?.startsWith('/') && `${name}_PREVIOUS` in texts)
      result[`${name}_PREVIOUS`] ??= `ref+file://${previousPath(path)}`
  }
  return result
}
