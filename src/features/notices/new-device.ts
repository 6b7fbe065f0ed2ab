import { originSentence } from '../../mail/origin.ts'
import { layout, type Template, timeForPeople } from '../../mail/template.ts'

export const newDevice: Template = ({ params, site, at }) =>
  layout({
    subject: 'New login to your account',
    heading: 'New login to your account',
    paragraphs: [
      `Your account at ${site} was used from a device that we do not know, at ${timeForPeople(at)}. ${originSentence(params)}`,
    ],
    footer: `If this was you, you need not do anything. If it was not you, someone else knows your password. Change it now at ${site}. This logs out every other device.`,
  })
