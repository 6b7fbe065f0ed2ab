import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import type { TokenKeys } from '../secrets/live-keys.ts'

/**
 * Derives keys for another purpose from those of refresh tokens, so that operators keep one secret less.
 * @param purpose the `info` of HKDF (RFC 5869), different for each purpose
 */
export function derivedKeys(keys: TokenKeys, purpose: string): TokenKeys {
  const derive = (key: KeyObject) => createSecretKey(Buffer.from(hkdfSync('sha256', key, '', purpose, 32)))
  return {
    algorithm: keys.algorithm,
    signingKey(before) {
      const { kid, signs } = keys.signingKey(before)
      const key = derive(signs)
      return { kid, signs: key, verifies: key }
    },
    async verificationKey(kid) {
      const key = await keys.verificationKey(kid)
      return key && derive(key)
    },
  }
}

/**
 * Returns a function that makes an HMAC of an e-mail address. A rotation of the keys changes the HMACs, so use them for
 * short windows only. The function throws AuthError `unavailable` if there is no key.
 */
export function createAddressDigest(refreshKeys: TokenKeys): (email: string) => string {
  const keys = derivedKeys(refreshKeys, 'address digest')
  return (email) => createHmac('sha256', keys.signingKey().signs).update(email).digest('base64url')
}
