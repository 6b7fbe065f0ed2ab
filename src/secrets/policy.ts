import { createHash, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { deflateRawSync } from 'node:zlib'
import { dictionary } from '@zxcvbn-ts/language-common'
import { type Algorithm, readPrivateKey } from './key.ts'

const leaked = new Set(
  readFileSync(new URL('./leaked-jwt-secrets.sha256', import.meta.url), 'utf8')
    .trim()
    .split('\n'),
)
const words = new Set(
  [...dictionary['passwords-common'], ...dictionary['diceware-common']].filter((word) =>
    /^[a-z]{4,}$/.test(word),
  ),
)

const generate = `node -p "crypto.randomBytes(48).toString('base64url')"`

const minBytes = 32
const minModulusBits = 2048

/** What `.env.example` has in the place of a secret. */
export const placeholder = /^(<.*>$|(replace|change)[-_ ]?me|your[-_ ])/i

/**
 * Judges the text of a shared secret, whatever source it came from.
 * @returns what is wrong and how to mend it, without anything of the secret; undefined where it will do
 */
export function secretProblem(secret: string): string | undefined {
  const text = secret.trim()
  if (/ref\+\w+:\/\//i.test(text))
    return 'is a reference with something in front of it, such as a quote; remove that'
  const rule =
    text === ''
      ? 'is empty'
      : placeholder.test(text)
        ? 'is a placeholder'
        : /-----BEGIN |"kty"\s*:/.test(text)
          ? 'is a PEM or JWK key, which must never serve as a shared secret'
          : keyBytes(text) < minBytes
            ? `has less than ${minBytes} bytes of key material`
            : isRegular(text) || isWordy(text)
              ? 'is made of repeats, sequences or words'
              : isLeaked(text)
                ? 'is publicly known'
                : undefined
  return rule && `${rule}; set one made by: ${generate}`
}

/** Judges a private key: PKCS 8 in PEM; RSA of 2048 bits or more for RS256 (RFC 7518, 3.3), P-256 for ES256. */
export function privateKeyProblem(text: string, algorithm: Algorithm): string | undefined {
  const mend = `set one made by: npm run secrets -- generate --algorithm ${algorithm}`
  let key: KeyObject
  try {
    if (!/^\s*-----BEGIN PRIVATE KEY-----/.test(text)) throw new Error('another format')
    key = readPrivateKey(text)
  } catch {
    return `is no private key in PEM (PKCS 8, without a passphrase); ${mend}`
  }
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {}
  const fits =
    algorithm === 'RS256'
      ? key.asymmetricKeyType === 'rsa' && modulusLength >= minModulusBits
      : key.asymmetricKeyType === 'ec' && namedCurve === 'prime256v1'
  const wanted =
    algorithm === 'RS256' ? `RSA key of ${minModulusBits} bits or more` : 'EC key on the curve P-256'
  return fits ? undefined : `is no ${wanted}, which ${algorithm} needs; ${mend}`
}

// Hex and base64 are judged by what they decode to: 32 hexadecimal digits are 16 bytes, not 32.
function keyBytes(text: string): number {
  if (/^[0-9a-f]+$/i.test(text)) return Math.floor(text.length / 2)
  if (/^[\w+/-]+={0,2}$/.test(text)) return Math.floor((text.replace(/=+$/, '').length * 6) / 8)
  return Buffer.byteLength(text)
}

// A compressor finds repeats; and, in the differences of neighbouring bytes, sequences. Random text of 32 bytes
// in hex or base64 was never below 40 bytes in 30,000 tries.
function isRegular(text: string): boolean {
  const bytes = Buffer.from(text).subarray(0, 1024)
  const steps = bytes.map((byte, index) => byte - (bytes[index - 1] ?? 0))
  return Math.min(deflateRawSync(bytes).length, deflateRawSync(steps).length) <= minBytes
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
  return leaked.has(createHash('sha256').update(text.toLowerCase()).digest('hex'))
}
