import type { AuthClient, AuthClientOptions, User } from './auth-client.ts'
import { pageClock } from './clock.ts'
import { createRequests } from './requests.ts'

export interface AccountClientOptions extends Pick<AuthClientOptions, 'url' | 'fetch'> {
  /** The client that keeps the login of this page. */
  auth: Pick<AuthClient, 'fetch' | 'refresh' | 'user'>
}

/**
 * What happens to an account by mail. All methods reject with an AuthClientError. Its code is `link_invalid` if the link of
 * the token was used, was replaced or has ended. A token that was refused for another reason can be tried again.
 *
 * Two methods need the token and the account. Without a password they send the login of this page. A page without a login
 * then gets `invalid_credentials`. A login of another account gets `link_invalid`.
 */
export interface AccountClient {
  /** Asks for a mail with a link to set a new password. The answer is the same for every address. */
  forgot: (email: string) => Promise<void>
  /** Sets a new password. All sessions of the account end. @throws AuthClientError `password_rejected`, … */
  reset: (token: string, newPassword: string) => Promise<void>
  /** Creates the account that waits for its mail (`REGISTRATION=verified`), and logs in. */
  confirm: (token: string, password: string) => Promise<User>
  /** Shows that the address of the account is the user's. */
  verify: (token: string, password?: string) => Promise<void>
  /** Sends the mail for `verify` again. @throws AuthClientError `already_verified`, … */
  resend: () => Promise<void>
  /**
   * Asks for a mail to a new address. The account keeps the old address until `confirmEmail`.
   * @throws AuthClientError `reauthentication_required`: call `reauthenticate` of the core client first
   */
  changeEmail: (email: string) => Promise<void>
  /** Gives the account its new address. All other sessions end. */
  confirmEmail: (token: string, password?: string) => Promise<void>
  /** Gives the account its former address again. All sessions end, and the password is void until a reset. */
  undo: (token: string) => Promise<void>
  /** Keeps an account that is about to be deleted. */
  cancelDeletion: (token: string) => Promise<void>
}

/** Makes the requests about an account that the core client does not make. */
export function createAccountClient(options: AccountClientOptions): AccountClient {
  const { auth } = options
  const { ask, askForGrant } = createRequests({
    server: new URL(options.url, globalThis.location?.href).origin,
    send: options.fetch ?? ((input, init) => fetch(input, init)),
    clock: pageClock,
  })

  /** Sends a request, with the login of the page if it goes `through` the core client. */
  async function tell(path: string, body?: object, through?: typeof fetch): Promise<void> {
    await ask(path, { ...(body && { body }), ...(through && { through }) })
  }

  /** Then asks who is logged in, because the request may have changed or ended the login of this page. */
  async function change(path: string, body: object, through?: typeof fetch): Promise<void> {
    await tell(path, body, through)
    if (auth.user()) await auth.refresh().catch(() => {})
  }

  const changeAs = (path: string, token: string, password?: string) =>
    password === undefined ? change(path, { token }, auth.fetch) : change(path, { token, password })

  return {
    forgot: (email) => tell('/auth/password/forgot', { email }),
    reset: (token, newPassword) => change('/auth/password/reset', { token, newPassword }),
    async confirm(token, password) {
      const { user } = await askForGrant('/auth/register/confirm', { body: { token, password } })
      await auth.refresh().catch(() => {})
      return user
    },
    verify: (token, password) => changeAs('/auth/email/verify', token, password),
    resend: () => tell('/auth/email/verification', undefined, auth.fetch),
    changeEmail: (email) => tell('/auth/email', { email }, auth.fetch),
    confirmEmail: (token, password) => changeAs('/auth/email/confirm', token, password),
    undo: (token) => change('/auth/email/undo', { token }),
    cancelDeletion: (token) => change('/users/me/deletion/cancel', { token }),
  }
}
