import contentType from 'content-type'
import type { Request } from 'express'
import { visit } from 'jsonc-parser'
import rawBody from 'raw-body'
import { z } from 'zod'
import { AuthError, type FieldError } from '../errors.ts'
import type { Check } from './route.ts'

export const maxBodyBytes = 8192
const maxDepth = 32

/** Text that PostgreSQL can store and UTF-8 can carry: no NUL, no half of a surrogate pair. */
export const text = z
  .string('must be a string')
  .refine((value) => !value.includes('\0'), 'must not contain NUL')
  .refine((value) => value.isWellFormed(), 'must be well-formed Unicode')

const maxEmailLength = 254 // RFC 5321, erratum 1690
/** What browsers accept in `<input type="email">` (HTML, 4.10.5.1.5). Takes linear time. */
const emailPattern = z.regexes.html5Email

// Checks for ASCII before it changes the case. Other scripts have letters whose lower case is an ASCII letter.
/** An e-mail address, trimmed and in lower case. */
export const email = text
  .refine((value) => /^[\0-\x7f]*$/.test(value), 'must be an e-mail address in ASCII')
  .transform((value) => value.trim().toLowerCase())
  .pipe(
    z
      .email({ pattern: emailPattern, error: 'must be an e-mail address' })
      .max(maxEmailLength, `must have ${maxEmailLength} characters at most`),
  )
  .meta({ format: 'email', pattern: emailPattern.source, maxLength: maxEmailLength }) // for OpenAPI, as all `meta` here

/** A password. Its rules are checked where it is hashed. */
export const password = text.meta({ format: 'password' })

/** The token of a link. Text that is no token is refused like a token that is not good any more. */
export const linkToken = z
  .string('must be a string')
  .min(1, 'must not be empty')
  .refine((value) => !value.includes('\0'), 'must not contain NUL')

/** Reads, parses and validates a JSON body. Handlers get the result from `bodyOf`. */
export const jsonBody = (schema: z.ZodType) =>
  ({
    problems: ['payload_too_large', 'unsupported_media_type', 'invalid_json', 'invalid_request'],
    body: schema,
    handler: () => async (req, _res, next) => {
      const bytes = await takeBytes(req)
      req.body = validate(bytes.length > 0 ? parseJson(req, bytes) : undefined, schema)
      next()
    },
  }) satisfies Check

/** The body `{}`. */
export const nothing = z.strictObject({})
/** Accepts no body, or `{}`. */
export const noBody = { ...jsonBody(nothing.default({})), body: nothing } satisfies Check

function validate(value: unknown, schema: z.ZodType): unknown {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const errors =
    value === undefined ? [{ path: '', message: 'a JSON body is required' }] : fieldErrors(result.error)
  throw new AuthError('invalid_request', { errors })
}

async function takeBytes(req: Request): Promise<Buffer> {
  try {
    return await rawBody(req, { length: req.headers['content-length'] ?? null, limit: maxBodyBytes })
  } catch (error) {
    const tooLarge = (error as rawBody.RawBodyError).type === 'entity.too.large'
    // Otherwise the client closed the connection before it sent everything.
    throw new AuthError(tooLarge ? 'payload_too_large' : 'invalid_json', { cause: error })
  }
}

/** Returns the body that the check `jsonBody(schema)` validated. */
export function bodyOf<T extends z.ZodType>(req: Request, _schema: T): z.output<T> {
  return req.body
}

function requireJson(req: Request): void {
  if (req.headers['content-encoding'] !== undefined) throw new AuthError('unsupported_media_type')
  // Refuse a missing type too: pages of other sites can send an untyped Blob without a preflight.
  const declared = req.headers['content-type'] ?? ''
  let parsed: ReturnType<typeof contentType.parse>
  try {
    parsed = contentType.parse(declared)
  } catch {
    throw new AuthError('unsupported_media_type')
  }
  const charset = parsed.parameters.charset ?? 'utf-8'
  if (parsed.type !== 'application/json' || charset.toLowerCase() !== 'utf-8')
    throw new AuthError('unsupported_media_type')
}

// Refuses a name that an object has twice. JSON.parse takes the last of the two, and other parsers take the first.
function parseJson(req: Request, bytes: Buffer): unknown {
  requireJson(req)
  try {
    const source = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    refuseDeepOrDouble(source)
    return JSON.parse(source)
  } catch {
    throw new AuthError('invalid_json')
  }
}

function refuseDeepOrDouble(source: string): void {
  const names: Set<string>[] = []
  const enter = () => {
    if (names.push(new Set()) > maxDepth) throw new SyntaxError('too deep')
  }
  const leave = () => void names.pop()
  visit(source, {
    onObjectBegin: enter,
    onArrayBegin: enter,
    onObjectEnd: leave,
    onArrayEnd: leave,
    onObjectProperty(name) {
      if (names.at(-1)?.has(name)) throw new SyntaxError('double member')
      names.at(-1)?.add(name)
    },
  })
}

function fieldErrors(error: z.ZodError): FieldError[] {
  return error.issues.map(({ code, path, message }) => ({
    path: path.join('.'),
    message: code === 'unrecognized_keys' ? 'has members that are not known here' : message,
  }))
}
