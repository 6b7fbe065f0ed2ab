import type { Template } from '../../mail/template.ts'

/** Tells the owner of an account that its address was used to register again. */
export const alreadyRegisteredMail: Template = ({ params, site, time, origin }) => ({
  subject: `You already have an account at ${site}`,
  heading: 'You already have an account',
  paragraphs: [
    `This address was used to register at ${site} on ${time}. ${origin} It has an account already, and nothing in it has changed.`,
    'If this was you, log in instead. If you forgot the password, you can reset it on the same page.',
  ],
  action: { label: 'Open your account', url: String(params.accountUrl) },
  footer:
    'If this was not you, you need to do nothing. The page told the other person nothing about your account.',
})
