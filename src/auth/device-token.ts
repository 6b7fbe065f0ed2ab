import { z } from 'zod'
import { ifPossible } from '../errors.ts'
import type { TokenKeys } from '../secrets/live-keys.ts'
import type { Credentials } from '../store/users.ts'
import { derivedKeys } from './derived-keys.ts'
import { type Clock, commonClaims, createSigner, verifyToken } from './jwt.ts'

/** One year. */
const deviceTokenSeconds = 365 * 24 * 60 * 60

/**
 * Signs and verifies device tokens: JWTs of known devices, which have logged in to an account before. A known device
 * has a login budget of its own, and still needs the password (OWASP, "Device Cookies"). A token contains the session
 * epoch of its account, and is void when the epoch has changed. Otherwise an attacker who once had the password could
 * keep device tokens, and lock the owner out with them after a change of the password.
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
    keys: derivedKeys(options.refreshKeys, 'device token'),
    fromTheFuture: 'invalid' as const,
    claims: commonClaims.extend({ epoch: z.int32().nonnegative() }),
  }

  return {
    /** @throws AuthError `unavailable` if there is no key to sign with */
    signer() {
      const sign = createSigner(kind)
      // A known device keeps its id. Otherwise each login would give it a new budget.
      return (userId: string, epoch: number, knownDevice?: string) => {
        const iat = Math.floor(clock() / 1000)
        const jti = knownDevice ?? options.randomId()
        const deviceToken = sign({ sub: userId, epoch, jti, iat, exp: iat + deviceTokenSeconds })
        return { deviceToken, deviceExpiresIn: deviceTokenSeconds }
      }
    },

    /** Returns the device's id if the token is of this account and epoch. Ignores a token whose key is unavailable. */
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
