import { describe, expect, test } from '@jest/globals'
import type { ClientCode } from '../../src/client/api.ts'
import { messages, messagesOf } from '../../src/client/messages.ts'
import type { CoreCode } from '../../src/errors.ts'
import { problems } from '../../src/http/problem.ts'

// Does not compile if a code has no message.
const complete: Record<CoreCode | ClientCode, string> = messages
const clientCodes: Record<ClientCode, true> = { unreachable: true, unexpected_answer: true, overtaken: true }

describe('messages for people', () => {
  test('exist for every code of the server and of the client, and for no other', () => {
    expect(Object.keys(complete).sort()).toEqual(
      [...Object.keys(problems), ...Object.keys(clientCodes)].sort(),
    )
  })

  test.each(Object.entries(messages))('do not mention tokens or the protocol: %s', (_code, message) => {
    expect(message).toMatch(/^[A-Z].*\.$/)
    expect(message).not.toMatch(/token|header|cookie|JSON|"|\b[45]\d\d\b|_/)
  })

  test('name the field and the rule that the server names', () => {
    const errors = [{ path: 'password', message: 'must have 15 characters or more' }]

    expect(messagesOf({ code: 'password_rejected', errors })).toEqual({
      password: 'The password must have 15 characters or more.',
    })
  })

  test.each([
    ['email_taken', 'email'],
    ['wrong_password', 'currentPassword'],
    ['invalid_credentials', ''],
  ] as const)('belong to a field: %s to "%s"', (code, field) => {
    expect(messagesOf({ code })).toEqual({ [field]: messages[code] })
  })

  test.each([
    ['an invalid body', [{ path: '', message: 'a JSON body is required' }]],
    ['a member that is not in the form', [{ path: 'role', message: 'has members that are not known here' }]],
  ])('do not repeat what the server says to developers about %s', (_what, errors) => {
    expect(messagesOf({ code: 'invalid_request', errors })).toEqual({ '': messages.invalid_request })
  })

  test.each([
    [{ code: 'new_code', message: 'x' }],
    [new TypeError('of the page')],
    ['text'],
    [undefined],
    [null],
  ])('fall back to a general message for %p', (error) => {
    expect(messagesOf(error)).toEqual({ '': messages.internal_error })
  })

  test('can be replaced by translations', () => {
    const german = {
      internal_error: 'Das hat nicht geklappt.',
      invalid_credentials: 'E-Mail oder Passwort ist falsch.',
    }

    expect(messagesOf({ code: 'invalid_credentials' }, german)).toEqual({ '': german.invalid_credentials })
    expect(messagesOf({ code: 'overloaded' }, german)).toEqual({ '': german.internal_error })
    const errors = [{ path: 'email', message: 'must be an e-mail address' }]
    expect(messagesOf({ code: 'invalid_request', errors }, german, { email: 'Feld „E-Mail“:' })).toEqual({
      email: 'Feld „E-Mail“: must be an e-mail address.',
    })
  })
})
