import { z } from 'zod'
import type { TokenKeys } from '../secrets/live-keys.ts'
import type { Link } from '../store/links.ts'
import type { LinkPurpose } from '../store/schema.ts'
import { derivedKeys } from './derived-keys.ts'
import { type Clock, commonClaims, createSigner, verifyToken } from './jwt.ts'

const claims = commonClaims.extend({ jti: z.guid() })

/**
 * Signs and verifies the tokens of links: JWTs whose `typ` names the purpose, computed from the row of the link. So two
 * copies of a mail have the same link, and no table contains a token.
 */
export function createLinkTokens(options: { keys: TokenKeys; issuer: string; clock: Clock }) {
  const { issuer, clock } = options
  const keys = derivedKeys(options.keys, 'link token')
  const kindOf = (purpose: LinkPurpose) => ({
    issuer,
    clock,
    typ: `${purpose}-link+jwt`,
    audience: `${issuer}/account`,
    keys,
    fromTheFuture: 'invalid' as const,
    claims,
  })

  return {
    /**
     * @param kid the key that signed the link before. It signs again, unless it was withdrawn
     * @throws AuthError `unavailable` if there is no key to sign with
     */
    sign({ id, purpose, userId, createdAt, expiresAt }: Link, kid?: string): string {
      const [iat, exp] = [createdAt, expiresAt].map((time) => Math.floor(time.getTime() / 1000))
      return createSigner(kindOf(purpose), kid)({ sub: userId ?? id, jti: id, iat, exp })
    },

    /**
     * Returns the id of the link, or undefined if it is no token of this purpose. Only the database knows whether the
     * link is still good.
     * @throws AuthError `unavailable` if the key is unavailable
     */
    async verify(token: string, purpose: LinkPurpose): Promise<string | undefined> {
      return (await verifyToken(token, kindOf(purpose)))?.jti
    },
  }
}

export type LinkTokens = ReturnType<typeof createLinkTokens>
