import { z } from 'zod'
import { bodyOf, email, jsonBody, linkToken, nothing, password } from '../../http/body.ts'
import { sameSite } from '../../http/cross-site.ts'
import { callerOf, deviceOf } from '../../http/grant.ts'
import { route } from '../../http/route.ts'
import { type Core, feature } from '../feature.ts'
import { createResetPassword, type ResetPassword } from './reset-password.ts'
import { resetPasswordMail } from './reset-password-mail.ts'
import { createResetStore, type ResetStore } from './reset-store.ts'

interface Services extends Core {
  resets: ResetStore
  resetPassword: ResetPassword
}

const forgotten = z.strictObject({ email }).meta({ id: 'ForgottenPassword' })
const newPassword = z.strictObject({ token: linkToken, newPassword: password }).meta({ id: 'NewPassword' })

/** Mails a link to the owner of an address. The answer is the same for every address. Changes nothing in the account. */
const forgot = route({
  method: 'post',
  path: '/auth/password/forgot',
  checks: [sameSite, jsonBody(forgotten)],
  name: 'forgotPassword',
  group: 'Account',
  summary: 'Ask for a link that resets the password',
  description: 'The answer is the same for every address. The password works until the link is used.',
  example: { email: 'ada@example.com' },
  answers: { 202: { description: 'A mail is on its way, if there is an account.', body: nothing } },
  problems: ['too_many_attempts', 'unavailable'],

  handler:
    ({ throttle, resets }: Services) =>
    async (req, res) => {
      const { email } = bodyOf(req, forgotten)
      const caller = callerOf(req)
      await throttle.mailRequest(caller)
      await resets.request(email, await throttle.mayMail(email, 'reset', caller), caller)
      res.status(202).json({})
    },
})

/** Sets a new password. Ends all sessions, and starts none. */
const reset = route({
  method: 'post',
  path: '/auth/password/reset',
  checks: [sameSite, jsonBody(newPassword)],
  name: 'resetPassword',
  group: 'Account',
  summary: 'Set a new password with a link',
  description: 'Ends all sessions of the user, and starts none. The e-mail address counts as verified.',
  example: { token: 'eyJ…', newPassword: 'my cat is called tux' },
  answers: { 204: { description: 'The password has changed. Log in with it.' } },
  problems: ['link_invalid', 'password_rejected', 'too_many_attempts', 'overloaded', 'unavailable'],

  handler:
    ({ resetPassword, cookies }: Services) =>
    async (req, res) => {
      const { token, newPassword: password } = bodyOf(req, newPassword)
      await resetPassword(token, password, deviceOf(req, res, cookies))
      res.status(204).end()
    },
})

/** A forgotten password is replaced by a link in a mail. */
export const resetPassword = feature({
  name: 'reset',
  settings: {},
  routes: [forgot, reset],
  mails: { 'reset-password': resetPasswordMail },
  isOn: (_own, { mail }) => mail.on,
  create: (core) => {
    const resets = createResetStore(core)
    return { resets, resetPassword: createResetPassword({ ...core, resets }) }
  },
})
