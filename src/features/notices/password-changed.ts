import { originSentence } from '../../mail/origin.ts'
import { layout, type Template, timeForPeople } from '../../mail/template.ts'

export const passwordChanged: Template = ({ params, site, at }) =>
  layout({
    subject: 'Your password was changed',
    heading: 'Your password was changed',
    paragraphs: [
      `The password of your account at ${site} was changed at ${timeForPeople(at)}. ${originSentence(params)}`,
      'All other devices were logged out.',
    ],
    footer: `If this was you, you need not do anything. If it was not you, someone else knows your password. Reset it now: choose "Forgot password" at ${site}. This logs that person out.`,
  })
