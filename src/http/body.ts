import contentType from 'content-type'
import type { Request, RequestHandler } from 'express'
import { visit } from 'jsonc-parser'
import { z } from 'zod'
import { AuthError, type FieldError } from '../errors.ts'

export const maxBodyBytes = 8192
const maxDepth = 32

/** Text that PostgreSQL can store and UTF-8 can carry: no NUL, no half of a surrogate pair. */
const text = z
  .string('must be a string')
  .refine((value) => !value.includes('\0'), 'must not contain NUL')
  .refine((value) => value.isWellFormed(), 'must be well-formed Unicode')

const maxEmailLength = 254 // RFC 5321, erratum 1690
/** What browsers accept in `<input type="email">` (HTML, 4.10.5.1.5). Takes linear time. */
const emailPattern = z.regexes.html5Email

// ASCII is asked for before the case is changed: other scripts have letters whose lower case is an ASCII one.
const email = text
  .refine((value) => /^[\0-\x7f]*$/.test(value), 'must be an e-mail address in ASCII')
  .transform((value) => value.trim().toLowerCase())
  .pipe(
    z
      .email({ pattern: emailPattern, error: 'must be an e-mail address' })
      .max(maxEmailLength, `must have ${maxEmailLength} characters at most`),
  )
  .meta({ format: 'email', pattern: emailPattern.source, maxLength: maxEmailLength }) // for OpenAPI, as all `meta` here

const password = text.meta({ format: 'password' })

export const credentialsBody = z.strictObject({ email, password }).meta({ id: 'Credentials' })
export const passwordChangeBody = z
  .strictObject({ currentPassword: password, newPassword: password })
  .meta({ id: 'PasswordChange' })
export const emptyBody = z.strictObject({})

/**
 * Reads, parses and validates the body; handlers find the result in `req.body`, typed by `bodyOf`. Routes without a
 * body take `emptyBody`: none, or `{}`.
 */
export function readBody(schema: z.ZodType): RequestHandler {
  return async (req, _res, next) => {
    const bytes = await takeBytes(req)
    // Some clients declare a type or an encoding without sending a body. There is nothing to judge then.
    if (bytes.length > 0) requireJson(req)
    const value = bytes.length > 0 ? parseJson(bytes) : schema === emptyBody ? {} : undefined
    if (value === undefined)
      throw new AuthError('invalid_request', { errors: [{ path: '', message: 'a JSON body is required' }] })
    const result = schema.safeParse(value)
    if (!result.success) throw new AuthError('invalid_request', { errors: fieldErrors(result.error) })
    req.body = result.data
    next()
  }
}

// Answers as soon as it is too much, where body-parser would first take all of it.
async function takeBytes(req: Request): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  if (Number(req.headers['content-length']) > maxBodyBytes) throw new AuthError('payload_too_large')
  try {
    for await (const chunk of req.iterator({ destroyOnReturn: false })) {
      length += chunk.length
      if (length > maxBodyBytes) throw new AuthError('payload_too_large')
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof AuthError) throw error
    throw new AuthError('invalid_json', { cause: error }) // The client has gone in the middle of it.
  }
  return Buffer.concat(chunks)
}

/** The body that `readBody(schema)` validated. */
export function bodyOf<T extends z.ZodType>(req: Request, _schema: T): z.output<T> {
  return req.body
}

function requireJson(req: Request): void {
  if (req.headers['content-encoding'] !== undefined) throw new AuthError('unsupported_media_type')
  // Pages of other sites can send a body without a type: an untyped Blob. So a missing type is refused too.
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

// JSON.parse takes the last of two members of one name where another parser takes the first, so doubles are refused.
function parseJson(bytes: Buffer): unknown {
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
