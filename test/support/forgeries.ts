import { createHmac, createSecretKey } from 'node:crypto'
import jwt from 'jsonwebtoken'

export type Members = Record<string, unknown>
export type Claims = Members & { iat: number; exp: number }

/** Returns the header and the claims of a token, unverified. */
export function partsOf(token: string) {
  const { header, payload } = jwt.decode(token, { complete: true }) as jwt.Jwt
  return { header: { ...header } as Members, claims: payload as Claims }
}

/** Returns a JWT with any header and claims, signed with HS256. Claims that are text are taken as they are. */
export function forge(secret: string, header: Members, claims: Members | string): string {
  return sign(`${encode(header)}.${encode(claims)}`, secret)
}

/** Signs any text as the first two parts of a token, with HS256. */
export function sign(input: string, secret: string): string {
  const signature = createHmac('sha256', createSecretKey(secret, 'utf8')).update(input).digest('base64url')
  return `${input}.${signature}`
}

/** Returns a part of a token. Text is taken as it is. */
export function encode(part: unknown): string {
  return Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url')
}

const each = (name: string, values: unknown[]): Members[] => values.map((value) => ({ [name]: value }))

/** Changes of the header that make every token invalid, also under a true signature. */
export const badHeaders = {
  alg: each('alg', [
    ...['none', 'nOnE', 'HS384', 'HS512', 'RS256', 'PS256', 'ES256', 'hs256', 'HS256 ', ''],
    ...[null, 256, undefined, { toString: 'HS256' }, ['HS256'], ['none', 'HS256']],
  ]),
  kid: each('kid', [
    ...['__proto__', 'constructor', 'toString', '../../etc/passwd', "' OR 1=1 --", 'a\0b', 'unknown', ''],
    ...[0, 1, null, undefined, ['kid'], { kid: 'kid' }],
  ]),
  typ: each('typ', [
    ...[undefined, null, '', 'JWT', 'jwt', 'AT+JWT', 'RT+JWT', 'at+jwt ', 'rt+jwt '],
    ...[['at+jwt'], ['rt+jwt'], 1],
  ]),
  crit: [
    { crit: ['exp'], exp: 1 },
    { crit: ['b64'], b64: true },
    { crit: ['b64'], b64: false },
    { crit: ['urn:example:unknown'], 'urn:example:unknown': true },
    ...each('crit', [['exp'], ['alg'], [], 'exp', {}, null]),
  ],
}

/** Writes a token in another way. `secret` is the token's own. */
export type Spelling = (head: string, body: string, signature: string, secret: string) => string

/** Spellings that make every token invalid. */
export const badSpellings: Record<string, Spelling> = {
  'padding of the signature': (h, p, s) => `${h}.${p}.${s}=`,
  'signed padding of the header': (h, p, _s, secret) => sign(`${h}=.${p}`, secret),
  'signed padding of the claims': (h, p, _s, secret) => sign(`${h}.${p}=`, secret),
  'signed white space in the header': (h, p, _s, secret) => sign(`${h} .${p}`, secret),
  'signed white space in the claims': (h, p, _s, secret) => sign(`${h}. ${p}`, secret),
  'white space in the signature': (h, p, s) => `${h}.${p}. ${s}`,
  'a tab': (h, p, s) => `${h}.${p}.${s.slice(0, 9)}\t${s.slice(9)}`,
  'a character outside of the alphabet': (h, p, s) => `${h}.${p}.${s}!`,
  'another last character of the signature': (h, p, s) => `${h}.${p}.${respelled(s)}`,
  'two parts': (h, p) => `${h}.${p}`,
  'one part': (h) => h,
  'four parts': (h, p, s) => `${h}.${p}.${s}.${s}`,
  'four parts, the last one empty': (h, p, s) => `${h}.${p}.${s}.`,
  'five parts': (h, p, s) => `${h}.${p}.${s}.${p}.${s}`,
  'an empty header': (_h, p, _s, secret) => sign(`.${p}`, secret),
  'empty claims': (h, _p, _s, secret) => sign(`${h}.`, secret),
  'an empty signature': (h, p) => `${h}.${p}.`,
  'a cut signature': (h, p, s) => `${h}.${p}.${s.slice(0, 40)}`,
  'empty parts': () => '..',
  'two tokens': (h, p, s) => `${h}.${p}.${s} ${h}.${p}.${s}`,
  'two tokens and a comma': (h, p, s) => `${h}.${p}.${s}, ${h}.${p}.${s}`,
  'a header that is not JSON': (_h, p, _s, secret) => sign(`${encode('"text').slice(0, 4)}.${p}`, secret),
  'a header that is null': (_h, p, _s, secret) => sign(`${encode(null)}.${p}`, secret),
  'a header in an array': (h, p, _s, secret) => sign(`${encode(`[${decode(h)}]`)}.${p}`, secret),
  quotes: (h, p, s) => `"${h}.${p}.${s}"`,
  'upper case': (h, p, s) => `${h}.${p}.${s}`.toUpperCase(),
  'too many characters': (h, p, s) => `${h}.${p}.${s}`.padEnd(5000, 'A'),
}

/** Returns the same bytes in another spelling: sets a bit that decoders drop. */
export function respelled(part: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const spelled = part.slice(0, -1) + alphabet[alphabet.indexOf(part.at(-1) ?? '') + 1]
  if (!Buffer.from(spelled, 'base64url').equals(Buffer.from(part, 'base64url')))
    throw new Error('no spare bits')
  return spelled
}

const decode = (part: string) => Buffer.from(part, 'base64url').toString()
