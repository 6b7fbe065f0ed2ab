import jwt from 'jsonwebtoken'
import { z } from 'zod'
import { AuthError } from '../errors.ts'
import type { TokenKeys } from '../secrets/live-keys.ts'

/** Milliseconds since 1970. */
export type Clock = () => number

/** A kind of token: its `typ`, keys, issuer, audience, and the claims that it must have. */
export interface TokenKind<Claims extends CommonClaims = CommonClaims> {
  typ: string
  keys: TokenKeys
  issuer: string
  audience: string
  claims: z.ZodType<Claims>
  clock: Clock
  /** The result for a token whose `iat` is in the future by more than the leeway. */
  fromTheFuture: 'invalid' | 'unavailable'
}

const maxTokenBytes = 4096
const leewaySeconds = 60

/** Seconds since 1970, as in `iat` and `exp`. `int` also refuses `1e999`, which JSON reads as infinite. */
const numericDate = z.int().nonnegative()

/** The claims that every kind of token must have. */
export const commonClaims = z.object({
  aud: z.string(),
  sub: z.guid(),
  jti: z.string().min(1),
  iat: numericDate,
  exp: numericDate,
})
export type CommonClaims = z.output<typeof commonClaims>

/** The claims that every token of a session must have. */
export const sessionClaims = commonClaims.extend({ sid: z.string().regex(/^[\w-]{22}$/) })

/**
 * Signs tokens of one kind (RFC 7519, RFC 8725).
 * @param before the `kid` of the key that signed an equal token before
 * @returns a function that cannot fail, because the key is already found
 * @throws AuthError `unavailable` if there is no key to sign with
 */
export function createSigner(kind: Pick<TokenKind, 'typ' | 'keys' | 'issuer' | 'audience'>, before?: string) {
  const { algorithm } = kind.keys
  const { kid, signs } = kind.keys.signingKey(before)
  return (claims: Record<string, unknown>): string =>
    jwt.sign({ iss: kind.issuer, aud: kind.audience, ...claims }, signs, {
      algorithm,
      header: { alg: algorithm, typ: kind.typ, kid },
    })
}

/**
 * Verifies a token except for its expiry. Each kind checks `exp` itself, because the kinds use different clocks.
 * @returns the claims, or undefined if it is not a token of this kind
 * @throws AuthError `unavailable` if the key is unavailable, or if the token is from the future and its kind says so
 */
export async function verifyToken<Claims extends CommonClaims>(
  token: string,
  kind: TokenKind<Claims>,
): Promise<Claims | undefined> {
  const { algorithm } = kind.keys
  const header = readHeader(token)
  if (header?.typ !== kind.typ || header.alg !== algorithm) return undefined
  const key = await kind.keys.verificationKey(header.kid)
  if (!key) return undefined
  const now = Math.floor(kind.clock() / 1000)
  let payload: unknown
  try {
    payload = jwt.verify(token, key, {
      algorithms: [algorithm],
      issuer: kind.issuer,
      audience: kind.audience,
      clockTimestamp: now,
      clockTolerance: leewaySeconds,
      ignoreExpiration: true,
    })
  } catch (error) {
    // An ES256 signature of a wrong length causes a TypeError.
    if (error instanceof jwt.JsonWebTokenError || error instanceof TypeError) return undefined
    throw error
  }
  const claims = kind.claims.safeParse(payload)
  if (!claims.success) return undefined
  if (claims.data.iat <= now + leewaySeconds) return claims.data
  if (kind.fromTheFuture === 'invalid') return undefined
  const ahead = claims.data.iat - now
  throw new AuthError('unavailable', { cause: `a ${kind.typ} was issued ${ahead} s in the future` })
}

// jsonwebtoken ignores `crit` and unknown members. This server writes only these three members, so it refuses all
// others, such as `crit`, `jwk`, `jku`, `x5u` and `x5c`. It uses `kid` only as a key of a Map.
const headers = z.strictObject({ alg: z.string(), typ: z.string(), kid: z.string().min(1) })

function readHeader(token: string): z.output<typeof headers> | undefined {
  if (token.length > maxTokenBytes) return undefined
  const parts = token.split('.')
  if (parts.length !== 3 || !parts.every(isCanonicalBase64url)) return undefined
  try {
    return headers.parse(JSON.parse(Buffer.from(parts[0] ?? '', 'base64url').toString()))
  } catch {
    return undefined
  }
}

// Decoders skip unknown characters and ignore spare bits. Without this check, one token would have many spellings. An
// ES256 signature still has two: if (r, s) signs a text, (r, n - s) does too. That is harmless, because nothing is
// stored or found by the text of a token. State belongs to `sid` and `gen`, which are signed.
function isCanonicalBase64url(part: string): boolean {
  return part !== '' && Buffer.from(part, 'base64url').toString('base64url') === part
}
