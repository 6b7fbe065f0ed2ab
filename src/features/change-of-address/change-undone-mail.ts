import type { Template } from '../../mail/template.ts'

/** Tells the owner of the address that an undo took from the account. Does not say where the undo came from. */
export const changeUndoneMail: Template = ({ site, time }) => ({
  subject: `Your account at ${site} has its former e-mail address again`,
  heading: 'The change of your address was undone',
  paragraphs: [
    `Your account at ${site} does not use this address any more. A link in a mail to its former address undid the change on ${time}. All devices were logged out.`,
  ],
  footer:
    'If this was not you, and the account is yours, another person reads the mails to your former address. Contact the operator of the site.',
})
