import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import { z } from 'zod'
import { ifPossible } from '../errors.ts'
import type { TokenKeys } from '../secrets/live-keys.ts'
import type { Credentials } from '../store/users.ts'
import { type Clock, commonClaims, createSigner, verifyToken } from './jwt.ts'

/** One year. */
const deviceTokenSeconds = 365 * 24 * 60 * 60

/**
 * Device tokens: JWTs that say that a device has logged in to an account before. They are good for nothing but a
 * login budget of its own (OWASP, "Device Cookies"): the password is needed as ever. A token carries the session epoch
 * of its account, and is void once that was raised. Otherwise an attacker who once had the password could keep device
 * tokens, and lock the owner out with them after the password was changed.
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
    fromTheFuture: 'invalid' as const,
    claims: commonClaims.extend({ epoch: z.int32().nonnegative() }),
  }

  return {
    /** @throws AuthError `unavailable` where there is no key to sign with */
    signer() {
      const sign = createSigner(kind)
      // A device that is known keeps its id, and with it the budget it has used up.
      return (userId: string, epoch: number, knownDevice?: string) => {
        const iat = Math.floor(clock() / 1000)
        const jti = knownDevice ?? options.randomId()
        const deviceToken = sign({ sub: userId, epoch, jti, iat, exp: iat + deviceTokenSeconds })
        return { deviceToken, deviceExpiresIn: deviceTokenSeconds }
      }
    },

    /** Returns the device's id if the token is one of this account and epoch. Ignores a token whose key is unavailable. */
    async verify(
      token: string | undefined,
      account: Pick<Credentials, 'userId' | 'epoch'> | undefined,
    ): Promise<string | undefined> {
      if (!token || !account) return undefined
      const claims = await ifPossible(verifyToken(token, kind))
      const valid =
        claims?.sub === account.userId && claims.epoch === account.epoch && claims.exp > clock() / 1000
      return valid ? claims.jti : undefined
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
