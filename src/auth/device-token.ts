import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import type { TokenKeys } from '../secrets/keys.ts'
import { ifPossible } from './errors.ts'
import { type Clock, commonClaims, createSigner, verifyToken } from './jwt.ts'

/** One year, in seconds. */
export const deviceTokenSeconds = 365 * 24 * 60 * 60

/**
 * Device tokens: JWTs that say that a device has logged in to an account before. They are good for nothing but a
 * login budget of its own (OWASP, "Device Cookies"): the password is needed as ever.
 */
export function createDeviceTokens(options: {
  refreshKeys: TokenKeys
  issuer: string
  clock: Clock
  randomId: () => string
}) {
  const { issuer, clock } = options
  const kind = {
    issuer,
    clock,
    typ: 'device+jwt',
    audience: `${issuer}/auth/login`,
    keys: derivedKeys(options.refreshKeys),
    claims: commonClaims,
  }

  return {
    /** @throws AuthError `unavailable` where there is no key to sign with */
    signer() {
      const sign = createSigner(kind)
      // A device that is known keeps its id, and with it the budget it has used up.
      return (userId: string, knownDevice?: string): string => {
        const iat = Math.floor(clock() / 1000)
        const jti = knownDevice ?? options.randomId()
        return sign({ sub: userId, jti, iat, exp: iat + deviceTokenSeconds })
      }
    },

    /** The device's id, where the token is one of this account; a token nobody can judge now counts as none. */
    async verify(token: string | undefined, userId: string | undefined): Promise<string | undefined> {
      if (!token) return undefined
      const claims = await ifPossible(verifyToken(token, kind))
      return claims && claims.sub === userId && claims.exp > clock() / 1000 ? claims.jti : undefined
    },
  }
}

export type DeviceTokens = ReturnType<typeof createDeviceTokens>

// A key for each purpose, without one more secret to keep.
function derivedKeys(keys: TokenKeys): TokenKeys {
  const derive = (key: KeyObject) =>
    createSecretKey(Buffer.from(hkdfSync('sha256', key, '', 'device token', 32)))
  return {
    algorithm: keys.algorithm,
    signingKey() {
      const { kid, signs } = keys.signingKey()
      const key = derive(signs)
      return { kid, signs: key, verifies: key }
    },
    async verificationKey(kid) {
      const key = await keys.verificationKey(kid)
      return key && derive(key)
    },
  }
}
