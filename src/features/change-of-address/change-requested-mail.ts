import type { Template } from '../../mail/template.ts'

/**
 * Tells the owner of an account that a change of its address was requested. Does not show the new address, because a
 * stranger may have typed it.
 */
export const changeRequestedMail: Template = ({ site, time, origin }) => ({
  subject: `A new e-mail address was requested for your account at ${site}`,
  heading: 'A new e-mail address was requested',
  paragraphs: [
    `We received a request to change the e-mail address of your account at ${site} on ${time}. ${origin}`,
    'Your account keeps this address until the new one is confirmed. If this was you, follow the link in the mail to the new address.',
  ],
  footer: `If this was not you, another person is logged in to your account. Change your password now at ${site}. This logs that person out, and withdraws the change.`,
})
