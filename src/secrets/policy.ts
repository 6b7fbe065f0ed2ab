import { createHash, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { deflateRawSync } from 'node:zlib'
import { dictionary } from '@zxcvbn-ts/language-common'
import { decodedForms, keyBytes, spellings, textIn, withoutEscapes } from './encodings.ts'
import { readPrivateKey, toKey } from './key.ts'
import { publishedKeys, publishedSecrets } from './published-keys.ts'

const leaked = parseDigests(readFileSync(new URL('./leaked-jwt-secrets.sha256', import.meta.url), 'utf8'))
const words = new Set(
  [...dictionary['passwords-common'], ...dictionary['diceware-common']].filter((word) =>
    /^[a-z]{4,}$/.test(word),
  ),
)
// People make secrets with commands such as `echo secret | sha256sum`: digests of common words, in hex, with and without
// a line break.
const commonWords = [
  '',
  ...'foo jwt key token changethis jwtsecret mysecret secretkey supersecret'.split(' '),
]
const wordDigests = new Set(
  [...commonWords, ...dictionary['passwords-common'].slice(0, 1000)].flatMap((word) =>
    [word, `${word}\n`].flatMap((text) =>
      ['sha256', 'sha384', 'sha512'].map((algorithm) => createHash(algorithm).update(text).digest('hex')),
    ),
  ),
)

const minBytes = 32
const generate = 'npm run -s secrets -- generate'

/** Returns the SHA-256 digests in a list with one digest per line. Accepts every kind of line break. */
export function parseDigests(text: string): ReadonlySet<string> {
  return new Set(text.match(/\b[0-9a-f]{64}\b/g))
}

/** A rule: what is wrong with a subject that breaks it, and the check. */
type Rule<Subject> = [message: string, breaks: (subject: Subject) => boolean]
const matches = (pattern: RegExp) => (text: string) => pattern.test(text)

const keyMessage = 'is a PEM, JWK or SSH key, which must never be used as a shared secret'
const weakMessage = 'is made of repeats, sequences or words'
const knownMessage = 'is publicly known'

/** Matches the placeholders of `.env.example`. */
export const placeholder = /^(<.*>$|(replace|change)[-_ ]?me|your[-_ ])/i

// Quotes, white space, and what editors do not show: format characters, variation selectors, fillers, blank Braille.
const edge = '[\\s\\p{QMark}`´\\p{Cf}\\p{DI}\\u2800]'
const edges = new RegExp(`^${edge}|${edge}$`, 'u')

// Check how the secret is written, first trimmed, then raw. A stray character would make a key that no other copy of
// the secret matches.
const trimmedRules: Rule<string>[] = [
  ['is empty', matches(/^$/)],
  ['is a placeholder', matches(placeholder)],
  [keyMessage, isKeyText],
  [
    'contains a line break or a control character, like the output of npm run without -s',
    matches(/[\p{Cc}\u2028\u2029]/u),
  ],
  ['contains U+FFFD, which stands for bytes that are not UTF-8', matches(/\ufffd/)],
  ['begins with the name of a setting, like a line of .env', isAssignment],
]
const formRules: Rule<string>[] = [
  ['begins or ends with white space, a BOM, a quote or an invisible character', matches(edges)],
  ['contains an invisible character or unusual white space', matches(/[\p{Cf}\p{DI}\u2800]|[^\S ]/u)],
]

// What a secret is made of, and the bytes that its text encodes.
const materialRules: Rule<string>[] = [
  [`has less than ${minBytes} bytes of key material`, (text) => keyBytes(text) < minBytes],
  [weakMessage, (text) => isRegular(Buffer.from(text)) || isWordy(text)],
  [knownMessage, isLeaked],
]
const byteRules: Rule<Buffer>[] = [
  [keyMessage, isKeyBytes],
  [weakMessage, isRegular],
  [knownMessage, (bytes) => spellings(bytes).some(isLeaked)],
]

// RFC 7518, 3.3 and 3.4; for the exponent NIST SP 800-56B, 6.2.
const privateKeyRules: Record<'RS256' | 'ES256', Rule<KeyObject>[]> = {
  RS256: [
    [
      'is not an RSA key of 2048 bits or more, which RS256 needs',
      ({ asymmetricKeyType: type, asymmetricKeyDetails: { modulusLength = 0 } = {} }) =>
        type !== 'rsa' || modulusLength < 2048,
    ],
    [
      'has a public exponent under 65537',
      ({ asymmetricKeyDetails: { publicExponent = 0n } = {} }) => publicExponent < 65537n,
    ],
  ],
  ES256: [
    [
      'is not an EC key on the curve P-256, which ES256 needs',
      ({ asymmetricKeyType: type, asymmetricKeyDetails: { namedCurve } = {} }) =>
        type !== 'ec' || namedCurve !== 'prime256v1',
    ],
  ],
}

/**
 * Validates the text of a shared secret. The same rules hold for every source.
 * @returns what is wrong and how to fix it, without any part of the secret; undefined if the secret is good
 */
export function secretProblem(secret: string): string | undefined {
  if (/ref\+\w+:\/\//i.test(secret))
    return 'is a reference with something in front of it, such as a quote. Remove what is in front of ref+.'
  const problem =
    firstBroken(trimmedRules, secret.trim()) ?? firstBroken(formRules, secret) ?? materialProblem(secret)
  return problem && `${problem}. Set one made by: ${generate}`
}

/**
 * Validates a private key: PKCS 8 in PEM, strong enough for `algorithm`, and not published.
 * @returns what is wrong and how to fix it, without any part of the key; undefined if the key is good
 */
export function privateKeyProblem(text: string, algorithm: 'RS256' | 'ES256'): string | undefined {
  const problem = privateKeyRule(text, algorithm)
  return problem && `${problem}. Set one made by: ${generate} --algorithm ${algorithm}`
}

function privateKeyRule(text: string, algorithm: 'RS256' | 'ES256'): string | undefined {
  const key = parsePrivateKey(text)
  if (!key) return 'is not a private key in PEM (PKCS 8, without a passphrase)'
  const isPublished = () => publishedKeys.has(toKey(text, algorithm).kid)
  return (
    firstBroken(privateKeyRules[algorithm], key) ??
    (isPublished() ? 'is a sample key that is publicly known' : undefined)
  )
}

function parsePrivateKey(text: string): KeyObject | undefined {
  if (!/^\s*-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----(\s|\\n)*$/.test(text)) return undefined
  try {
    return readPrivateKey(text)
  } catch {
    return undefined
  }
}

function firstBroken<Subject>(rules: Rule<Subject>[], subject: Subject): string | undefined {
  return rules.find(([, breaks]) => breaks(subject))?.[0]
}

function materialProblem(text: string): string | undefined {
  return firstBroken(materialRules, text) ?? decodedProblem(text)
}

// A phrase is still a phrase in base64 or hex. Decoded forms are shorter than their text, so this ends.
function decodedProblem(text: string): string | undefined {
  for (const bytes of decodedForms(text)) {
    const decoded = textIn(bytes) ?? ''
    const problem =
      firstBroken(byteRules, bytes) ??
      (isKeyText(decoded) ? keyMessage : undefined) ??
      (decoded && materialProblem(decoded))
    if (problem) return `${problem.replace(/ once decoded$/, '')} once decoded`
  }
  return undefined
}

// Finds NAME=value, as .env, YAML, JSON and shells write it. The = at the end of base64 has nothing behind it.
function isAssignment(text: string): boolean {
  const [, name = ''] = /^(?:export |set |\$env:)?[{"']*([\w.-]+)["']?\s*[=:]\s*[^\s=]/i.exec(text) ?? []
  return /secret|token|jwt|passw|key/i.test(name) || /^[A-Z]{2,}_[A-Z_]{2,}$/.test(name)
}

// PEM, RFC 4716, PuTTY; a JWK, also in a set, or only its k.
const keyMark = /--[\s+]?(BEGIN|END)[\s+]|PuTTY-User-Key-File|\bkty\b["']?\s*[:=]|(^\s*\{\s*k|["']k["'])\s*:/
// The start of an OpenSSH key or certificate in base64: the length of its type, and ssh-, sk-, webauthn- or ecdsa-.
const sshMark = /AAAA\w([3HXn](Nz|Nr|dl)|[2GWm]Vj)/

// Finds a key anywhere in the text, also escaped, encoded, or cut into pieces.
function isKeyText(text: string): boolean {
  const plain = withoutEscapes(text)
  const runs = plain.match(/[a-z\d][\w+/-]{39,}={0,2}/gi) ?? []
  const joined = plain.replace(/[\s,;"']/g, '')
  return (
    [keyMark, sshMark].some((mark) => mark.test(plain)) ||
    runs.flatMap(decodedForms).some((bytes) => isKeyBytes(bytes) || isKeyText(textIn(bytes) ?? '')) ||
    decodedForms(joined).some(isKeyBytes)
  )
}

// Finds the bytes of a key: OpenSSH, or DER that begins like a key or a certificate.
function isKeyBytes(bytes: Buffer): boolean {
  const start = bytes.subarray(0, 16).toString('hex')
  const ssh = /^(6f70656e7373682d6b65792d7631|000000..(7373682d|65636473|736b2d|77656261))/
  const der = /^30([0-7].|81..|82....)(30..06|02010[0-3]|(02|30)8[12])/
  return ssh.test(start) || der.test(start)
}

// A compressor finds repeats. In the differences between bytes it finds sequences, in steps of 1 to 4 bytes. This
// check accepted all 600,000 random samples of 32 bytes, in hex and base64 too.
function isRegular(all: Uint8Array): boolean {
  const bytes = all.subarray(0, 1024)
  const steps = [1, 2, 3, 4].map((size) => bytes.map((byte, index) => byte - (bytes[index - size] ?? 0)))
  return [bytes, ...steps].some((each) => deflateRawSync(each).length <= minBytes)
}

// Computes how many letters and digits common words can cover without overlap. In phrases they cover at least half.
// In 30,000 random texts of several alphabets they covered less than 0.38.
function isWordy(text: string): boolean {
  const lower = text.toLowerCase().slice(0, 1024)
  const covered = [0]
  for (let end = 1; end <= lower.length; end++) {
    let best = covered[end - 1] ?? 0
    for (let length = 4; length <= Math.min(end, 14); length++)
      if (words.has(lower.slice(end - length, end)))
        best = Math.max(best, (covered[end - length] ?? 0) + length)
    covered.push(best)
  }
  return (covered.at(-1) ?? 0) > 0.45 * lower.replace(/[^a-z0-9]/g, '').length
}

function isLeaked(text: string): boolean {
  const lower = text.toLowerCase()
  const digest = createHash('sha256').update(lower).digest('hex')
  return leaked.has(digest) || publishedSecrets.has(digest) || wordDigests.has(lower)
}
