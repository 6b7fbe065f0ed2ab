import type { Template } from '../../mail/template.ts'

/** The link that changes the address of an account to the recipient's. */
export const confirmAddressMail: Template = ({ link = '', site, time, origin }) => ({
  subject: `Confirm your new e-mail address for ${site}`,
  heading: 'Confirm your new e-mail address',
  paragraphs: [
    `We received a request to use this address for an account at ${site} on ${time}. ${origin}`,
    'If this was you, confirm the address. You need to be logged in, or to know the password. The link works once, in the next 24 hours. Until then, your account keeps its address.',
  ],
  action: { label: 'Use this address', url: link },
  footer: 'If this was not you, ignore this mail. The account then keeps its other address.',
})
