// Messages for users, in English. Copy this file next to the client and translate it, or pass your own texts.

/** A message for each code of the server, and for the three codes of the client. */
export const messages = {
  invalid_json: 'This page and the server do not understand each other. Reload the page and try again.',
  invalid_request: 'Something you entered is not valid. Check it and try again.',
  password_rejected: 'This password is too easy to guess. Choose another one.',
  invalid_credentials: 'The e-mail address or the password is wrong.',
  access_token_missing: 'You are not logged in. Log in first.',
  access_token_invalid: 'Your login is no longer valid. Log in again.',
  access_token_expired: 'Your login has expired. Log in again.',
  refresh_token_missing: 'You are not logged in. Log in first.',
  refresh_token_invalid: 'Your login is no longer valid. Log in again.',
  refresh_token_reused:
    'Someone else may have used your login, so the server ended it. Log in again and change your password.',
  session_ended: 'Your login has ended. Log in again.',
  reauthentication_required: 'To continue, enter your password again.',
  cross_site_request: 'The server does not accept requests from this website.',
  wrong_password: 'The current password is wrong.',
  registration_closed: 'New accounts cannot be registered here.',
  not_found: 'This does not exist any more. Reload the page.',
  method_not_allowed: 'This page is out of date. Reload it and try again.',
  email_taken: 'There is already an account with this e-mail address. Log in, or use another one.',
  link_invalid: 'This link is no longer valid. Ask for a new one.',
  payload_too_large: 'This text is too long. Shorten it and try again.',
  unsupported_media_type:
    'This page and the server do not understand each other. Reload the page and try again.',
  too_many_attempts: 'There were too many attempts. Wait a few minutes and try again.',
  overloaded: 'The server is busy. Try again in a few seconds.',
  unavailable: 'The server is not available at the moment. Try again in a minute.',
  internal_error: 'Something went wrong on the server. Try again later.',
  unreachable: 'The server cannot be reached. Check your internet connection and try again.',
  unexpected_answer:
    'The response did not come from the server. Some Wi-Fi networks ask you to sign in first.',
  overtaken: 'You logged in or out in another tab in the meantime. Try again.',
}

/** How messages name the fields of a form. The server's rule follows, such as `must have 15 characters or more`. */
export const fieldNames = {
  email: 'The e-mail address',
  password: 'The password',
  currentPassword: 'The current password',
  newPassword: 'The new password',
}

// Codes that belong to one field, although the server names no field.
const fieldOfCode: Record<string, string> = { email_taken: 'email', wrong_password: 'currentPassword' }

/**
 * Returns messages for users, by the names of the fields that they belong to. `''` stands for the whole form.
 * @param error the rejection of a method of the client. A code that is not in `texts` counts as `internal_error`
 */
export function messagesOf(
  error: unknown,
  texts: Partial<Record<string, string>> & { internal_error: string } = messages,
  fields: Partial<Record<string, string>> = fieldNames,
): Record<string, string> {
  const { code = '', errors = [] } = Object(error) as {
    code?: string
    errors?: { path: string; message: string }[]
  }
  const named = errors.filter(({ path }) => fields[path])
  if (named.length)
    return Object.fromEntries(named.map(({ path, message }) => [path, `${fields[path]} ${message}.`]))
  return { [fieldOfCode[code] ?? '']: texts[code] ?? texts.internal_error }
}
