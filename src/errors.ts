/** The error codes of the core that clients see. `http/problem.ts` says what each means. */
export type CoreCode =
  | 'invalid_json'
  | 'invalid_request'
  | 'password_rejected'
  | 'invalid_credentials'
  | 'access_token_missing'
  | 'access_token_invalid'
  | 'access_token_expired'
  | 'refresh_token_missing'
  | 'refresh_token_invalid'
  | 'refresh_token_reused'
  | 'session_ended'
  | 'reauthentication_required'
  | 'cross_site_request'
  | 'wrong_password'
  | 'registration_closed'
  | 'not_found'
  | 'method_not_allowed'
  | 'email_taken'
  | 'link_invalid'
  | 'payload_too_large'
  | 'unsupported_media_type'
  | 'too_many_attempts'
  | 'overloaded'
  | 'unavailable'
  | 'internal_error'

/** The error codes of features. Each feature adds its own: `declare module '../../errors.ts'`. */
// biome-ignore lint/suspicious/noEmptyInterface: features extend it
export interface FeatureCodes {}

/** The closed set of error codes that clients see. */
export type ErrorCode = CoreCode | keyof FeatureCodes

/**
 * A fault of a request. `path` names the member, and is empty for the whole body. `message` states the rule, without
 * input.
 */
export interface FieldError {
  path: string
  message: string
}

/**
 * The only error that use cases throw. Clients see `code`, `errors`, `retryAfterSeconds`, `detail` instead of the text of
 * the code, and the `members` that the problem of the code declares. Only the log shows `cause`.
 */
export class AuthError extends Error {
  readonly code: ErrorCode
  readonly errors: FieldError[] | undefined
  readonly detail: string | undefined
  readonly members: Readonly<Record<string, unknown>> | undefined
  readonly retryAfterSeconds: number
  constructor(
    code: ErrorCode,
    options: {
      errors?: FieldError[]
      detail?: string
      members?: Readonly<Record<string, unknown>>
      retryAfterSeconds?: number
      cause?: unknown
    } = {},
  ) {
    super(code, { cause: options.cause })
    this.name = 'AuthError'
    this.code = code
    this.errors = options.errors
    this.detail = options.detail
    this.members = options.members
    this.retryAfterSeconds = options.retryAfterSeconds ?? 1
  }
}

/** Returns the result of `work`, or undefined if it throws an AuthError. For work that a request can do without. */
export async function ifPossible<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (error instanceof AuthError) return undefined
    throw error
  }
}

/** Returns the code of a system error, such as `ENOENT`, or of a database error. Returns undefined if it has none. */
export function codeOf(error: unknown): string | undefined {
  const hasCode = typeof error === 'object' && error !== null && 'code' in error
  return hasCode && typeof error.code === 'string' ? error.code : undefined
}
