import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { accessToken, liveOf, liveSession } from '../../http/bearer.ts'
import { bodyOf, email, jsonBody, linkToken, nothing } from '../../http/body.ts'
import { sameSite } from '../../http/cross-site.ts'
import { fresh } from '../../http/fresh.ts'
import { callerOf, deviceOf } from '../../http/grant.ts'
import { mailLimit } from '../../http/mail-limit.ts'
import { demandsOwnLink, ownLinkOf } from '../../http/own-link.ts'
import { route } from '../../http/route.ts'
import { type Core, feature } from '../feature.ts'
import { addressChangedMail } from './address-changed-mail.ts'
import { addressRestoredMail } from './address-restored-mail.ts'
import { type AddressStore, createAddressStore } from './address-store.ts'
import { addressTakenMail } from './address-taken-mail.ts'
import { changeRequestedMail } from './change-requested-mail.ts'
import { changeUndoneMail } from './change-undone-mail.ts'
import { confirmAddressMail } from './confirm-address-mail.ts'
import { createUndoChange, type UndoChange } from './undo-change.ts'

interface Services extends Core {
  addresses: AddressStore
  undoChange: UndoChange
}

const newAddress = z.strictObject({ email }).meta({ id: 'NewAddress' })
const undoing = z.strictObject({ token: linkToken }).meta({ id: 'UndoOfChange' })

/** Mails a link to a new address. The account keeps its address until the link is used. */
const request = route({
  method: 'post',
  path: '/auth/email',
  checks: [sameSite, accessToken, jsonBody(newAddress), mailLimit, liveSession, fresh],
  name: 'changeEmail',
  group: 'Account',
  summary: 'Ask for another e-mail address',
  description:
    'The answer is the same for every address. The account keeps its address until the link is used.',
  example: { email: 'ada@example.org' },
  answers: { 202: { description: 'A mail is on its way, if the address is free.', body: nothing } },
  problems: ['unavailable'],

  handler:
    ({ throttle, addresses }: Services) =>
    async (req, res) => {
      const { email } = bodyOf(req, newAddress)
      const { user, session } = liveOf(req)
      const caller = callerOf(req)
      const mayMail = await throttle.mayMail(email, 'email', caller)
      await addresses.request({ userId: user.id, sessionId: session.id }, email, mayMail, caller)
      res.status(202).json({})
    },
})

/** Changes the address of an account. Demands the link and the account. The session of the request goes on. */
const confirm = route({
  method: 'post',
  path: '/auth/email/confirm',
  ...demandsOwnLink,
  name: 'confirmEmail',
  group: 'Account',
  summary: 'Change the e-mail address with a link',
  description: `${demandsOwnLink.description} The other sessions end.`,
  answers: { 204: { description: 'The account has the new address, which counts as verified.' } },

  handler: (services: Services) => async (req, res) => {
    const { link, access } = await ownLinkOf(req, res, 'email', services)
    await services.addresses.confirm(link, access?.sessionId, callerOf(req))
    res.status(204).end()
  },
})

/** Gives an account a former address back. Ends all sessions, and starts none. */
const undo = route({
  method: 'post',
  path: '/auth/email/undo',
  checks: [sameSite, jsonBody(undoing)],
  name: 'undoEmail',
  group: 'Account',
  summary: 'Take back a change of the e-mail address',
  description:
    'Ends all sessions of the user, and starts none. The password does not work any more. A mail to the former address has a link to choose another one.',
  example: { token: 'eyJ…' },
  answers: { 204: { description: 'The account has its former address again.' } },
  problems: ['link_invalid', 'overloaded', 'unavailable'],

  handler:
    ({ undoChange, cookies }: Services) =>
    async (req, res) => {
      await undoChange(bodyOf(req, undoing).token, deviceOf(req, res, cookies))
      res.status(204).end()
    },
})

/** An account gets another address with a link in a mail. The owner of the former address can undo that for three days. */
export const changeOfAddress = feature({
  name: 'change-of-address',
  settings: {},
  routes: [request, confirm, undo],
  mails: {
    'confirm-address': confirmAddressMail,
    'change-requested': changeRequestedMail,
    'address-taken': addressTakenMail,
    'address-changed': addressChangedMail,
    'address-restored': addressRestoredMail,
    'change-undone': changeUndoneMail,
  },
  isOn: (_own, { mail }) => mail.on,
  create: (core) => {
    const addresses = createAddressStore(core)
    const randomPassword = () => randomBytes(32).toString('base64url')
    return { addresses, undoChange: createUndoChange({ ...core, addresses, randomPassword }) }
  },
})
