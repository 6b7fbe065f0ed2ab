import type { Template } from '../../mail/template.ts'

/** Tells the owner of a former address about the change. With a link, the address was verified and can be taken back. */
export const addressChangedMail: Template = ({ link, site, time, origin }) => ({
  subject: `The e-mail address of your account at ${site} was changed`,
  heading: 'The address of your account was changed',
  paragraphs: [
    `The e-mail address of your account at ${site} was changed on ${time}. ${origin} All other devices were logged out.`,
    link
      ? 'If this was you, you need to do nothing. If this was not you, take your account back with this link. It works once, in the next 72 hours. Then your account has this address again, all devices are logged out, and a second mail lets you choose a new password.'
      : 'If this was you, you need to do nothing.',
  ],
  action: link === undefined ? undefined : { label: 'Take my account back', url: link },
  footer: link
    ? 'Do not forward this mail: the link takes over your account. If this was not you, change the password of this mailbox too, because it may have been read.'
    : 'This address cannot take the account back. If this was not you, contact the operator of the site.',
})
