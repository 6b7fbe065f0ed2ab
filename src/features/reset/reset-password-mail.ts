import type { Template } from '../../mail/template.ts'

/** The link that resets a password. */
export const resetPasswordMail: Template = ({ link = '', site, time, origin }) => ({
  subject: `Reset your password for ${site}`,
  heading: 'Reset your password',
  paragraphs: [
    `We received a request to reset the password of your account at ${site} on ${time}. ${origin}`,
    'If this was you, choose a new password. The link works once, in the next 30 minutes. All your devices are then logged out.',
  ],
  action: { label: 'Choose a new password', url: link },
  footer:
    'If this was not you, ignore this mail. Your password still works, and the link ends by itself. Do not forward this mail: the link opens your account.',
})
