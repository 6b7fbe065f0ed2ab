import type { Template } from '../../mail/template.ts'

export const passwordChanged: Template = ({ site, time, origin }) => ({
  subject: 'Your password was changed',
  heading: 'Your password was changed',
  paragraphs: [
    `The password of your account at ${site} was changed on ${time}. ${origin}`,
    'All other devices were logged out.',
  ],
  footer: `If this was you, you need not do anything. If it was not you, someone else knows your password. Reset it now: choose "Forgot password" at ${site}. This logs that person out.`,
})
