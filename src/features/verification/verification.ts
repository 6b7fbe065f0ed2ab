import { z } from 'zod'
import type { Verification } from '../../auth/register.ts'
import { AuthError } from '../../errors.ts'
import { accessOf, accessToken } from '../../http/bearer.ts'
import { bodyOf, jsonBody, linkToken, noBody, nothing, password } from '../../http/body.ts'
import { sameSite } from '../../http/cross-site.ts'
import { callerOf, deviceOf, sendGrant, tokenAnswer } from '../../http/grant.ts'
import { demandsOwnLink, ownLinkOf } from '../../http/own-link.ts'
import { registrationOpen } from '../../http/registration.ts'
import { route } from '../../http/route.ts'
import { type Core, feature } from '../feature.ts'
import { alreadyRegisteredMail } from './already-registered-mail.ts'
import { type ConfirmRegistration, createConfirmRegistration } from './confirm-registration.ts'
import { confirmRegistrationMail } from './confirm-registration-mail.ts'
import { createVerificationStore, type VerificationStore } from './verification-store.ts'
import { verifyAddressMail } from './verify-address-mail.ts'

declare module '../../errors.ts' {
  interface FeatureCodes {
    already_verified: true
  }
}

interface Services extends Core {
  verifications: VerificationStore
  confirmRegistration: ConfirmRegistration
}

const confirmation = z.strictObject({ token: linkToken, password }).meta({ id: 'Confirmation' })

/** Creates the account of a link, and logs in. */
const confirm = route({
  method: 'post',
  path: '/auth/register/confirm',
  checks: [sameSite, registrationOpen, jsonBody(confirmation)],
  name: 'confirmRegistration',
  group: 'Log in and out',
  summary: 'Create the account of a link in a mail, and log in',
  description: 'Demands the password of the registration again. Ends the session whose cookie is presented.',
  example: { token: 'eyJ…', password: 'my dog is called rex' },
  answers: {
    201: { description: 'The account and its first session.', headers: ['Set-Cookie'], body: tokenAnswer },
  },
  problems: ['link_invalid', 'invalid_credentials', 'too_many_attempts', 'overloaded', 'unavailable'],

  handler:
    ({ confirmRegistration, cookies }: Services) =>
    async (req, res) => {
      const { token, password } = bodyOf(req, confirmation)
      const grant = await confirmRegistration(token, password, deviceOf(req, res, cookies))
      sendGrant(res, cookies, 201, grant)
    },
})

/** Mails a new link that verifies the address of the user. */
const resend = route({
  method: 'post',
  path: '/auth/email/verification',
  checks: [sameSite, accessToken, noBody],
  name: 'requestVerification',
  group: 'Account',
  summary: 'Ask for a new link that verifies the e-mail address',
  answers: { 202: { description: 'A mail is on its way.', body: nothing } },
  problems: ['session_ended', 'already_verified', 'too_many_attempts', 'unavailable'],

  handler:
    ({ sessions, throttle, verifications }: Services) =>
    async (req, res) => {
      const caller = callerOf(req)
      await throttle.mailRequest(caller)
      const asker = accessOf(req)
      const session = await sessions.find(asker.sessionId, asker.userId)
      if (!session) throw new AuthError('session_ended')
      const { user } = session
      if (user.emailVerifiedAt) throw new AuthError('already_verified')
      if (await throttle.mayMail(user.email, 'verify', caller)) await verifications.requestLink(asker, caller)
      res.status(202).json({})
    },
})

/** Verifies the address of an account. Demands the link and the account. Logs no user in. */
const verify = route({
  method: 'post',
  path: '/auth/email/verify',
  ...demandsOwnLink,
  name: 'verifyEmail',
  group: 'Account',
  summary: 'Verify the e-mail address with a link',
  answers: { 204: { description: 'The address is verified.' } },

  handler: (services: Services) => async (req, res) => {
    const { link } = await ownLinkOf(req, res, 'verify', services)
    await services.verifications.verify(link, callerOf(req))
    res.status(204).end()
  },
})

function atRegistration(core: Core): Verification {
  const { throttle } = core
  const store = createVerificationStore(core)
  return {
    confirmFirst:
      core.registration === 'verified'
        ? async (email, hashed, from) =>
            store.requestAccount(email, hashed, await throttle.mayMail(email, 'register', from), from)
        : undefined,
    async prepareMail(email, from) {
      const mayMail = await throttle.mayMail(email, 'verify', from)
      return async (tx, userId) => {
        if (mayMail) await store.queueLink(tx, userId, email, from)
      }
    },
  }
}

/** Links in mails verify e-mail addresses, and create accounts with REGISTRATION=verified. */
export const verification = feature({
  name: 'verification',
  settings: {},
  problems: {
    already_verified: {
      status: 409,
      detail: 'The e-mail address is verified already. You need to do nothing.',
    },
  },
  routes: [confirm, resend, verify],
  mails: {
    'verify-address': verifyAddressMail,
    'confirm-registration': confirmRegistrationMail,
    'already-registered': alreadyRegisteredMail,
  },
  verification: atRegistration,
  isOn: (_own, { mail }) => mail.on,
  create: (core) => {
    const verifications = createVerificationStore(core)
    return { verifications, confirmRegistration: createConfirmRegistration({ ...core, verifications }) }
  },
})
