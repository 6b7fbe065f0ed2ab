import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto'

/** What tokens are signed with: a shared secret, or a private key whose public half others can have. */
export type Algorithm = 'HS256' | 'RS256' | 'ES256'

/** A key ready for use. `kid` follows from the key, so that instances agree on it without talking to each other. */
export interface Key {
  kid: string
  signs: KeyObject
  verifies: KeyObject
  /** As other services read it (RFC 7517); none of a shared secret. */
  publicKey?: JsonWebKey
}

/** Prepares the text of a secret: of HS256 its bytes, of the others a private key in PEM (PKCS 8). */
export function toKey(text: string, algorithm: Algorithm): Key {
  if (algorithm === 'HS256') {
    const key = createSecretKey(text, 'utf8')
    // Bytes of an HMAC under the key itself tell no more than any token signed with it does.
    const digest = createHmac('sha256', key).update('kid').digest()
    return { kid: digest.subarray(0, 12).toString('base64url'), signs: key, verifies: key }
  }
  const signs = readPrivateKey(text)
  const verifies = createPublicKey(signs)
  const jwk = verifies.export({ format: 'jwk' })
  const kid = thumbprint(jwk)
  return { kid, signs, verifies, publicKey: { ...jwk, kid, alg: algorithm, use: 'sig' } }
}

/** Variables cannot always hold line breaks, so `\\n` stands for one. @throws where it is no private key */
export function readPrivateKey(text: string): KeyObject {
  return createPrivateKey(text.replaceAll('\\n', '\n'))
}

/** RFC 7638: a digest of the members that make the key, in the order of their names. */
function thumbprint({ crv, e, kty, n, x, y }: JsonWebKey): string {
  const members = kty === 'RSA' ? { e, kty, n } : { crv, kty, x, y }
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url')
}
