import type { Template } from '../../mail/template.ts'

/** The link that verifies the address of an account. */
export const verifyAddressMail: Template = ({ link = '', site, time, origin }) => ({
  subject: `Confirm your e-mail address for ${site}`,
  heading: 'Confirm your e-mail address',
  paragraphs: [
    `An account at ${site} uses this address. This mail was requested on ${time}. ${origin}`,
    'If this is your account, confirm the address. You need to be logged in, or to know the password. The link works once, in the next 24 hours.',
  ],
  action: { label: 'Confirm the address', url: link },
  footer:
    'If this is not your account, ignore this mail. The address then stays unconfirmed. To take the account over, reset its password.',
})
