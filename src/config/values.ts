// The kinds of values that settings can have. Features use them for their own settings too.
import { z } from 'zod'
import { parseSender } from './mail.ts'
import { isOrigin } from './origins.ts'
import { coverHalfOfAll, parseTrustedProxies } from './trusted-proxies.ts'

/** A whole number in decimal digits, from `min` to `max`. */
export function integer(min: number, max: number) {
  const message = `must be a whole number from ${min} to ${max}, in decimal digits`
  return z
    .string()
    .regex(/^\d+$/, message)
    .transform(Number)
    .pipe(z.number().min(min, message).max(max, message))
}

export const boolean = z
  .enum(['true', 'false'], 'must be true or false')
  .transform((text) => text === 'true')
  .meta({ values: '`true`, `false`' })

export function oneOf<const Names extends readonly string[]>(names: Names) {
  return z.enum(names, `must be ${names.slice(0, -1).join(', ')} or ${names.at(-1)}`)
}

/** Any text, or none. */
export const text = z.string().optional()

const list = (items: string) => items.split(',').map((item) => item.trim())

export const publicUrl = z
  .string()
  .transform((url) => url.replace(/\/$/, ''))
  .refine(isOrigin, {
    error: ({ input }) => {
      const hasPath = URL.canParse(`${input}`) && isOrigin(new URL(`${input}`).origin)
      return `must be an origin, scheme://host[:port], in lower case and without a path.${hasPath ? ' Remove the path.' : ''}`
    },
  })

export const origins = z
  .string()
  .transform(list)
  .refine(
    (items) => items.every(isOrigin),
    'must be comma-separated origins, each scheme://host[:port] in lower case, without a path or wildcard',
  )

/** The URL of a page, which a fragment can follow. */
export const pageUrl = z
  .string()
  .refine(
    (url) => /^https?:\/\/[^\s?#<>"]+$/.test(url) && URL.canParse(url) && !new URL(url).username,
    'must be the URL of a page, https://app.example.com/account, without a query, a fragment or a user',
  )

export const sender = z
  .string()
  .transform(parseSender)
  .refine(
    (parsed) => parsed !== undefined,
    'must be one e-mail address in ASCII, alone or as Name <auth@example.com>',
  )

export const hostNames = z
  .string()
  .transform((names) => list(names.toLowerCase()))
  .refine(
    (names) => names.every((name) => /^[a-z\d][\w.-]*$/.test(name)),
    'must be comma-separated host names, without a scheme, port or wildcard',
  )

export const trustedProxies = z
  .string()
  .transform(parseTrustedProxies)
  .refine(
    (proxies) => proxies !== undefined,
    'must be the number of proxies (1 to 10), or comma-separated IP addresses and CIDR ranges',
  )
  .refine(
    (proxies) => typeof proxies !== 'object' || !coverHalfOfAll(proxies),
    'must cover less than half of all IP addresses. Otherwise clients could choose their own IP address. List the proxies only.',
  )

/** N/S: at most N attempts in S seconds. `off` becomes undefined, which means no limit. */
export const limit = z
  .string()
  .transform((text, context) => {
    if (text === 'off') return undefined
    const [, attempts = 0, seconds = 0] = (/^(\d{1,7})\/(\d{1,5})$/.exec(text) ?? []).map(Number)
    const valid = attempts >= 1 && attempts <= 1_000_000 && seconds >= 1 && seconds <= 86_400
    if (valid) return { attempts, seconds }
    context.addIssue('must be N/S, N (1 to 1000000) attempts in S (1 to 86400) seconds, or off')
    return z.NEVER
  })
  .meta({ values: '`N/S`: N (1–1000000) in S (1–86400) seconds; `off`' })
