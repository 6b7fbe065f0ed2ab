import { isUtf8 } from 'node:buffer'
import { createHash, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { deflateRawSync } from 'node:zlib'
import { dictionary } from '@zxcvbn-ts/language-common'
import { type Algorithm, readPrivateKey, toKey } from './key.ts'
import { publishedKeys, publishedSecrets } from './published-keys.ts'

const leaked = parseDigests(readFileSync(new URL('./leaked-jwt-secrets.sha256', import.meta.url), 'utf8'))
const words = new Set(
  [...dictionary['passwords-common'], ...dictionary['diceware-common']].filter((word) =>
    /^[a-z]{4,}$/.test(word),
  ),
)
// What `echo secret | sha256sum` and the like give: the digests of common words in hex, with and without a line end.
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

const generate = 'npm run -s secrets -- generate'

const minBytes = 32
const minModulusBits = 2048
const minExponent = 65537n
const keyRule = 'is a PEM, JWK or SSH key, which must never serve as a shared secret'

/** What `.env.example` has in the place of a secret. */
export const placeholder = /^(<.*>$|(replace|change)[-_ ]?me|your[-_ ])/i

/** The SHA-256 digests in the text of a list, one a line, whatever ends its lines. */
export function parseDigests(text: string): ReadonlySet<string> {
  return new Set(text.match(/\b[0-9a-f]{64}\b/g))
}

/**
 * Validates the text of a shared secret. The same rules hold for every source.
 * @returns what is wrong and how to fix it, without any part of the secret; undefined if the secret is good
 */
export function secretProblem(secret: string): string | undefined {
  if (/ref\+\w+:\/\//i.test(secret))
    return 'is a reference with something in front of it, such as a quote; remove that'
  const rule = formRule(secret) ?? materialRule(secret)
  return rule && `${rule}; set one made by: ${generate}`
}

// Characters that no editor shows: format characters, variation selectors, fillers, and the blank of Braille.
const invisible = /[\p{Cf}\p{DI}\u2800]/u
const edge = '[\\s\\p{QMark}`´\\p{Cf}\\p{DI}\\u2800]'
const edges = new RegExp(`^${edge}|${edge}$`, 'u')

// The rules on how the secret is written. A slip here gives a key that another copy of the same secret does not match.
function formRule(secret: string): string | undefined {
  const text = secret.trim()
  if (text === '') return 'is empty'
  if (placeholder.test(text)) return 'is a placeholder'
  if (isKeyText(text)) return keyRule
  if (/[\p{Cc}\u2028\u2029]/u.test(text))
    return 'has a line break or control character in it, as the output of npm run without -s has'
  if (text.includes('\ufffd')) return 'has a character in it that stands for bytes that are no UTF-8 (U+FFFD)'
  if (isAssignment(text)) return 'begins with the name of a setting, as a line of .env does'
  if (edges.test(secret)) return 'begins or ends with white space, a BOM, a quote or an invisible character'
  if (invisible.test(text) || /[^\S ]/.test(text))
    return 'has an invisible character or unusual white space in it'
  return undefined
}

// Whether the text is NAME=value, also as YAML, JSON or a shell has it. Base64 with padding is not, because nothing follows it.
function isAssignment(text: string): boolean {
  const [, name = ''] = /^(?:export |set |\$env:)?[{"']*([\w.-]+)["']?\s*[=:]\s*[^\s=]/i.exec(text) ?? []
  return /secret|token|jwt|passw|key/i.test(name) || /^[A-Z]{2,}_[A-Z_]{2,}$/.test(name)
}

// The rules on what the secret is made of. A phrase stays a phrase in base64 or hex, so decoded forms are validated too.
// Each of them is shorter than its text, so this ends.
function materialRule(text: string): string | undefined {
  if (keyBytes(text) < minBytes) return `has less than ${minBytes} bytes of key material`
  if (isRegular(Buffer.from(text)) || isWordy(text)) return 'is made of repeats, sequences or words'
  if (isLeaked(text)) return 'is publicly known'
  const rules = decodedForms(text).map((bytes) => {
    if (isKeyBytes(bytes)) return keyRule
    if (isRegular(bytes)) return 'is made of repeats, sequences or words'
    if (spellings(bytes).some(isLeaked)) return 'is publicly known'
    const decoded = textIn(bytes)
    if (decoded === undefined) return undefined
    return isKeyText(decoded) ? keyRule : materialRule(decoded)
  })
  const rule = rules.find((rule) => rule !== undefined)
  return rule && `${rule.replace(/ once decoded$/, '')} once decoded`
}

/**
 * Validates a private key: PKCS 8 in PEM, and no published one. RS256 needs RSA of 2048 bits or more (RFC 7518, 3.3) with
 * a public exponent of 65537 or more (NIST SP 800-56B, 6.2), ES256 needs P-256.
 * @returns what is wrong and how to fix it, without any part of the key; undefined if the key is good
 */
export function privateKeyProblem(text: string, algorithm: Algorithm): string | undefined {
  const fix = `set one made by: npm run -s secrets -- generate --algorithm ${algorithm}`
  let key: KeyObject
  try {
    if (!/^\s*-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----(\s|\\n)*$/.test(text))
      throw new Error('another format')
    key = readPrivateKey(text)
  } catch {
    return `is no private key in PEM (PKCS 8, without a passphrase); ${fix}`
  }
  const { modulusLength = 0, namedCurve, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
  const fits =
    algorithm === 'RS256'
      ? key.asymmetricKeyType === 'rsa' && modulusLength >= minModulusBits
      : key.asymmetricKeyType === 'ec' && namedCurve === 'prime256v1'
  const wanted =
    algorithm === 'RS256' ? `RSA key of ${minModulusBits} bits or more` : 'EC key on the curve P-256'
  if (!fits) return `is no ${wanted}, which ${algorithm} needs; ${fix}`
  if (algorithm === 'RS256' && publicExponent < minExponent)
    return `has a public exponent under ${minExponent}; ${fix}`
  if (publishedKeys.has(toKey(text, algorithm).kid)) return `is a sample key that is publicly known; ${fix}`
  return undefined
}

// PEM, RFC 4716, PuTTY; a JWK, also in a set, or only its k.
const keyMark = /--[\s+]?(BEGIN|END)[\s+]|PuTTY-User-Key-File|\bkty\b["']?\s*[:=]|(^\s*\{\s*k|["']k["'])\s*:/
// What an OpenSSH key or certificate begins with, in base64: the length of its type, and ssh-, sk-, webauthn- or ecdsa-.
const sshMark = /AAAA\w([3HXn](Nz|Nr|dl)|[2GWm]Vj)/

// Looks for a key anywhere in the text, also escaped, encoded, or cut into pieces.
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

// Undoes percent-encoding, also twice, the quotes of HTML, and the escapes of JSON and JavaScript.
function withoutEscapes(text: string): string {
  const character = (_escape: string, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))
  return text
    .replace(/%25/g, '%')
    .replace(/%([0-9a-f]{2})/gi, character)
    .replaceAll('&quot;', '"')
    .replace(/\\{2,}/g, '\\')
    .replace(/\\[nrt]/g, '\n')
    .replace(/\\(?:u00|x)([0-9a-f]{2})/gi, character)
    .replaceAll('\\', '')
}

// The same keys without what is around their base64: an OpenSSH key, or DER that begins as a key or certificate does.
function isKeyBytes(bytes: Buffer): boolean {
  const start = bytes.subarray(0, 16).toString('hex')
  const ssh = /^(6f70656e7373682d6b65792d7631|000000..(7373682d|65636473|736b2d|77656261))/
  const der = /^30([0-7].|81..|82....)(30..06|02010[0-3]|(02|30)8[12])/
  return ssh.test(start) || der.test(start)
}

// Hex, also with 0x, colons or hyphens; base64 and base64url; base32; with a prefix such as Laravel's too.
function decodedForms(text: string): Buffer[] {
  const bare = text.replace(/^(base64|hex):/i, '')
  const hex = asHex(bare)
  if (hex) return [Buffer.from(hex, 'hex')]
  const forms = isBase64(bare) ? [Buffer.from(bare, 'base64')] : []
  return /^[A-Z2-7]+=*$/.test(bare) ? [...forms, fromBase32(bare)] : forms
}

function asHex(text: string): string | undefined {
  const digits = text.replace(/^0x/i, '').replace(/[: -]/g, '')
  return /^[0-9a-f]+$/i.test(digits) ? digits : undefined
}

const isBase64 = (text: string) => /^[\w+/-]+={0,2}$/.test(text)

function fromBase32(text: string): Buffer {
  const bits = [...text.replace(/={1,6}$/, '')]
    .map((digit) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(digit).toString(2).padStart(5, '0'))
    .join('')
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)))
}

const spellings = (bytes: Buffer) => [
  bytes.toString('hex'),
  bytes.toString('base64'),
  bytes.toString('base64').replace(/={1,2}$/, ''),
  bytes.toString('base64url'),
]

// UTF-8, and the UTF-16 that PowerShell encodes. Random bytes are neither.
function textIn(bytes: Buffer): string | undefined {
  const text = bytes.toString().replaceAll('\0', '')
  return isUtf8(bytes) && /^[\P{Cc}\s]+$/u.test(text) ? text : undefined
}

// Hex and base64 count as what they decode to: 32 hexadecimal digits are 16 bytes, not 32.
function keyBytes(text: string): number {
  const hex = asHex(text)
  if (hex) return Math.floor(hex.length / 2)
  if (isBase64(text)) return Math.floor((text.replace(/={1,2}$/, '').length * 6) / 8)
  return Buffer.byteLength(text)
}

// A compressor finds repeats. In the differences of neighbouring bytes it finds sequences, of steps of 1 to 4 bytes.
// 32 random bytes, and their hex and base64, were not refused once in 600,000 tries.
function isRegular(all: Uint8Array): boolean {
  const bytes = all.subarray(0, 1024)
  const steps = [1, 2, 3, 4].map((size) => bytes.map((byte, index) => byte - (bytes[index - size] ?? 0)))
  return [bytes, ...steps].some((each) => deflateRawSync(each).length <= minBytes)
}

// The most letters and digits that words out of a list of common ones can cover without overlap. Phrases reach
// a half and more, random text of any alphabet stayed below 0.38 in 30,000 tries.
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
