import type { Template } from '../../mail/template.ts'

/** The link that creates an account. */
export const confirmRegistrationMail: Template = ({ link = '', site, time, origin }) => ({
  subject: `Finish your registration at ${site}`,
  heading: 'Finish your registration',
  paragraphs: [
    `This address was used to register at ${site} on ${time}. ${origin}`,
    'If this was you, confirm the address. You need the password that you chose. The link works once, in the next 24 hours.',
  ],
  action: { label: 'Create my account', url: link },
  footer: 'If this was not you, ignore this mail. There is no account without your confirmation.',
})
