import { generateKeyPairSync, randomBytes } from 'node:crypto'
import type { Algorithm } from '../key.ts'

/** A new shared secret from the CSPRNG; without options 48 bytes as 64 characters. */
export function newSecret(bytes = 48, format: 'base64url' | 'hex' = 'base64url'): string {
  return randomBytes(bytes).toString(format)
}

/** A new private key in PEM (PKCS 8): RSA of 3072 bits for RS256, P-256 for ES256. */
export function newPrivateKey(algorithm: Exclude<Algorithm, 'HS256'>): string {
  const { privateKey } =
    algorithm === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 3072 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}
