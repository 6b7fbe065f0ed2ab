import type { Notify } from '../../auth/notify.ts'
import { boolean } from '../../config/values.ts'
import { originOf } from '../../mail/origin.ts'
import { queueMail } from '../../store/outbox.ts'
import { feature } from '../feature.ts'
import { newDevice } from './new-device.ts'
import { passwordChanged } from './password-changed.ts'
import { passwordReset } from './password-reset.ts'

const templates = {
  password_changed: 'password-changed',
  password_reset: 'password-reset',
  new_device: 'new-device',
} as const

/** Mails that tell the owner of an account what happened to it. No limit holds them back. */
export const notices = feature({
  name: 'notices',
  settings: {
    NOTICE_NEW_DEVICE: boolean
      .default(true)
      .describe(
        'Whether a mail to a verified address tells users about a login from a device that their account does not know.',
      ),
  },
  routes: [],
  mails: { 'password-changed': passwordChanged, 'password-reset': passwordReset, 'new-device': newDevice },
  isOn: (_own, { mail }) => mail.on,
  notify: ({ NOTICE_NEW_DEVICE }): Notify => {
    return async (tx, { kind, user, from }) => {
      // In open mode, strangers register addresses of other people, and cause as many logins as they like.
      if (kind === 'new_device' && !(NOTICE_NEW_DEVICE && user.emailVerifiedAt)) return
      const mail = { template: templates[kind], recipient: user.email, userId: user.id }
      await queueMail(tx, { ...mail, params: originOf(from) })
    }
  },
  create: () => ({}),
})
