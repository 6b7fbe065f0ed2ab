import { originSentence } from '../../mail/origin.ts'
import { layout, type Template, timeForPeople } from '../../mail/template.ts'

/** The link that creates an account. */
export const confirmRegistrationMail: Template = ({ params, link = '', site, at }) =>
  layout({
    subject: `Finish your registration at ${site}`,
    heading: 'Finish your registration',
    paragraphs: [
      `This address was used to register at ${site} on ${timeForPeople(at)}. ${originSentence(params)}`,
      'If this was you, confirm the address. You need the password that you chose. The link works once, in the next 24 hours.',
    ],
    action: { label: 'Create my account', url: link },
    footer: 'If this was not you, ignore this mail. There is no account without your confirmation.',
  })
