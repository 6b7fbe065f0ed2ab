/** An account, as the server describes it. */
export interface User {
  id: string
  email: string
  role: string
  emailVerified: boolean
  /** ISO 8601, UTC. */
  createdAt: string
}

/** Who is logged in, and what has changed. */
export interface Change {
  user: User | undefined
  /**
   * `login`; `restored` from the cookie; `elsewhere`: in another tab; `updated`: the same user with other data, such as a
   * verified address; `logout`; or the code of the server's refusal, such as `refresh_token_missing` or `session_ended`.
   * After `refresh_token_reused`, someone else may have a copy of the refresh token.
   */
  reason: string
}

/** The codes that the client adds to those of the server. */
export type ClientCode =
  /** No answer came: the server is down, the network is gone, or the answer took too long. */
  | 'unreachable'
  /** The answer is not from this server: HTML of a captive portal, half a JSON document, an error of a proxy. */
  | 'unexpected_answer'
  /** Another login or a logout came first. */
  | 'overtaken'

/** The server refused, or could not be asked. In the second case `status` is 0. */
export class AuthClientError extends Error {
  /** The server's code, or a `ClientCode`. */
  declare readonly code: string
  declare readonly status: number
  /** What to fix in the request: the path of a member, and its problem. */
  declare readonly errors: readonly { path: string; message: string }[]
  /** How long to wait before the next request, in milliseconds. */
  declare readonly retryAfter: number
  constructor(
    message: string,
    code: string,
    status = 0,
    errors: AuthClientError['errors'] = [],
    retryAfter = 0,
  ) {
    super(message)
    Object.assign(this, { name: 'AuthClientError', code, status, errors, retryAfter })
  }
}

export interface AuthClientOptions {
  /** The server's origin. `/` if the page has the same origin. */
  url: string
  /** Other origins whose requests get the access token. The server's requests always get it. */
  origins?: readonly string[]
  /** Sends the requests, instead of the global `fetch`. */
  fetch?: typeof fetch
}

export interface AuthClient {
  /** Creates an account and logs in. @throws AuthClientError `email_taken`, `password_rejected`, `invalid_request`, … */
  register: (email: string, password: string) => Promise<User>
  /** @throws AuthClientError `invalid_credentials`, `too_many_attempts`, … */
  login: (email: string, password: string) => Promise<User>
  /**
   * Changes the password. All sessions of the user end, and a new one begins here.
   * @throws AuthClientError `wrong_password`, `password_rejected`, `too_many_attempts`, …
   */
  changePassword: (currentPassword: string, newPassword: string) => Promise<User>
  /**
   * Proves the identity of the user again, after a refusal with `reauthentication_required`. The session continues.
   * @throws AuthClientError `wrong_password`, `too_many_attempts`, …
   */
  reauthenticate: (password: string) => Promise<User>
  /**
   * Logs out here and in the other tabs, at once.
   * @throws AuthClientError if the server could not be told. Then the session continues on the server
   */
  logout: () => Promise<void>
  /** Logs out on every device. @throws AuthClientError if the server could not do it. Then this page stays logged in */
  logoutAll: () => Promise<void>
  /**
   * Gets a new access token with the cookie.
   * @returns the user, or undefined if no user is logged in
   * @throws AuthClientError if the server gives no clear answer. Then the login stays, and the client tries again
   */
  refresh: () => Promise<User | undefined>
  /**
   * `fetch` with an access token that does not expire soon. A relative URL means the server, not the page. After a 401
   * that a new token can fix, it sends the request once more, unless the body was a stream or in a `Request`.
   * @throws AuthClientError if the token has expired and the server gives no new one; `overtaken` if the user has changed
   * in the meantime. Otherwise it rejects as `fetch` does
   */
  fetch: typeof fetch
  /** Returns who is logged in, as far as this tab knows. */
  user: () => User | undefined
  /**
   * Calls `listener` when it is known for the first time who is logged in, whenever that changes, and when the server
   * describes the same user differently.
   * @returns a function that removes the listener
   */
  onChange: (listener: (change: Change) => void) => () => void
  /** Ends timers, listeners and the channel to other tabs. The login stays, for them and for the next page. */
  close: () => void
}
