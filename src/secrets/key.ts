import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto'

/** HS256 signs with a shared secret. The others sign with a private key, and other services can have the public key. */
export type Algorithm = 'HS256' | 'RS256' | 'ES256'

/** A key ready for use. `kid` is derived from the key, so servers agree on it without talking to each other. */
export interface Key {
  kid: string
  signs: KeyObject
  verifies: KeyObject
  /** The public key for other services (RFC 7517). Missing for a shared secret. */
  publicKey?: JsonWebKey
}

/** Prepares a secret: the bytes of its text for HS256, otherwise a private key in PEM (PKCS 8). */
export function toKey(text: string, algorithm: Algorithm): Key {
  if (algorithm === 'HS256') {
    const key = createSecretKey(text, 'utf8')
    // An HMAC with the key itself reveals no more than any token that the key signed.
    const digest = createHmac('sha256', key).update('kid').digest()
    return { kid: digest.subarray(0, 12).toString('base64url'), signs: key, verifies: key }
  }
  const signs = readPrivateKey(text)
  const verifies = createPublicKey(signs)
  const jwk = verifies.export({ format: 'jwk' })
  const kid = thumbprint(jwk)
  return { kid, signs, verifies, publicKey: { ...jwk, kid, alg: algorithm, use: 'sig' } }
}

/** Reads a private key. `\\n` stands for a line break, because some variables cannot contain one. @throws if it cannot */
export function readPrivateKey(text: string): KeyObject {
  return createPrivateKey(text.replaceAll('\\n', '\n'))
}

/** Returns the thumbprint of RFC 7638: a digest of the members that make the key, in the order of their names. */
function thumbprint({ crv, e, kty, n, x, y }: JsonWebKey): string {
  const members = kty === 'RSA' ? { e, kty, n } : { crv, kty, x, y }
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url')
}
