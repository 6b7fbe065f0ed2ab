import type { Template } from '../../mail/template.ts'

/** Tells the owner of an account that another account was to use its address. */
export const addressTakenMail: Template = ({ site, time, origin }) => ({
  subject: `Your e-mail address already has an account at ${site}`,
  heading: 'Your address already has an account',
  paragraphs: [
    `We received a request to use this address for another account at ${site} on ${time}. ${origin}`,
    'The address belongs to your account, so nothing has changed. If this was you, you have two accounts. Use another address for the other one.',
  ],
  footer:
    'If this was not you, you need to do nothing. The page told the other person nothing about your account.',
})
