import jwt from 'jsonwebtoken'
import { z } from 'zod'
import { AuthError } from '../errors.ts'
import type { TokenKeys } from '../secrets/live-keys.ts'

/** Milliseconds since 1970. */
export type Clock = () => number

/** A kind of token: its `typ`, its keys, who issues it, for whom, and what it must say. */
export interface TokenKind<Claims extends CommonClaims = CommonClaims> {
  typ: string
  keys: TokenKeys
  issuer: string
  audience: string
  claims: z.ZodType<Claims>
  clock: Clock
  /** What a token is that was issued in the future, beyond the leeway. */
  fromTheFuture: 'invalid' | 'unavailable'
}

const maxTokenBytes = 4096
const leewaySeconds = 60

/** Seconds since 1970, as in `iat` and `exp`. A JSON number can be too large for this: `1e999` is infinite. */
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

/** And those of tokens that belong to a session, such as the database can hold its id. */
export const sessionClaims = commonClaims.extend({ sid: z.string().regex(/^[\w-]{22}$/) })

/**
 * Signs tokens of one kind (RFC 7519, RFC 8725).
 * @returns a function that cannot fail any more: whether there is a key is settled before anything else is done
 */
export function createSigner(kind: Pick<TokenKind, 'typ' | 'keys' | 'issuer' | 'audience'>) {
  const { algorithm } = kind.keys
  const { kid, signs } = kind.keys.signingKey()
  return (claims: Record<string, unknown>): string =>
    jwt.sign({ iss: kind.issuer, aud: kind.audience, ...claims }, signs, {
      algorithm,
      header: { alg: algorithm, typ: kind.typ, kid },
    })
}

/**
 * Verifies everything about a token but its end, which each kind judges by a clock of its own.
 * @returns its claims, or undefined where it is not a token of this kind
 * @throws AuthError `unavailable` if its key is unavailable, or if its kind says so of tokens from the future
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
    // A TypeError: an ES256 signature of another length than those have.
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

// jsonwebtoken reads past `crit` and foreign members. These three are all that this server ever writes, so `crit`,
// `jwk`, `jku`, `x5u` and `x5c` are refused with the rest, and `kid` is only ever looked up in a Map.
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

// Decoders skip what they don't know and ignore the last spare bits, so one token could be written in many ways. An
// ES256 signature still has two spellings: if (r, s) signs a text, (r, n - s) does too. That does no harm, because nothing
// is stored or looked up by the text of a token, or a digest of it: state belongs to `sid` and `gen`, which are signed.
function isCanonicalBase64url(part: string): boolean {
  return part !== '' && Buffer.from(part, 'base64url').toString('base64url') === part
}
