import type { Template } from '../../mail/template.ts'

/** Tells the owner of an account that it has this address again, and lets them choose a password. */
export const addressRestoredMail: Template = ({ link = '', site, time, origin }) => ({
  subject: `Your account at ${site} is back: choose a new password`,
  heading: 'Your account is back',
  paragraphs: [
    `Your account at ${site} has this address again since ${time}. ${origin} All devices were logged out, and the old password does not work any more.`,
    'Choose a new password now. The link works once, in the next 30 minutes. Later, ask for another link on the login page.',
  ],
  action: { label: 'Choose a new password', url: link },
  footer:
    'Do not forward this mail: the link opens your account. Change the password of this mailbox too, because it may have been read.',
})
