import { isUtf8 } from 'node:buffer'

/** Decodes hex (also with 0x, colons or hyphens), base64, base64url and base32, also with the prefix of Laravel. */
export function decodedForms(text: string): Buffer[] {
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

export const spellings = (bytes: Buffer) => [
  bytes.toString('hex'),
  bytes.toString('base64'),
  bytes.toString('base64').replace(/={1,2}$/, ''),
  bytes.toString('base64url'),
]

/** Reads UTF-8, and the UTF-16 that PowerShell encodes. Random bytes are neither. */
export function textIn(bytes: Buffer): string | undefined {
  const text = bytes.toString().replaceAll('\0', '')
  return isUtf8(bytes) && /^[\P{Cc}\s]+$/u.test(text) ? text : undefined
}

/** Counts the bytes that hex and base64 decode to: 32 hexadecimal digits are 16 bytes, not 32. */
export function keyBytes(text: string): number {
  const hex = asHex(text)
  if (hex) return Math.floor(hex.length / 2)
  if (isBase64(text)) return Math.floor((text.replace(/={1,2}$/, '').length * 6) / 8)
  return Buffer.byteLength(text)
}

/** Undoes percent-encoding (also twice), the quotes of HTML, and the escapes of JSON and JavaScript. */
export function withoutEscapes(text: string): string {
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
