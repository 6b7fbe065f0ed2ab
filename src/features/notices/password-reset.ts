import type { Template } from '../../mail/template.ts'

/** Tells the owner that a link in a mail has reset the password. */
export const passwordReset: Template = ({ site, time, origin }) => ({
  subject: 'Your password was reset',
  heading: 'Your password was reset',
  paragraphs: [
    `The password of your account at ${site} was reset with a link in a mail on ${time}. ${origin}`,
    'All devices were logged out. Log in with the new password.',
  ],
  footer: `If this was you, you need not do anything. If it was not you, another person reads your mail. Change the password of this mailbox first. Then reset your password: choose "Forgot password" at ${site}.`,
})
