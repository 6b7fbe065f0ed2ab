import type { Template } from '../../mail/template.ts'

export const newDevice: Template = ({ site, time, origin }) => ({
  subject: 'New login to your account',
  heading: 'New login to your account',
  paragraphs: [`Your account at ${site} was used on ${time}, from a device that we do not know. ${origin}`],
  footer: `If this was you, you need not do anything. If it was not you, someone else knows your password. Change it now at ${site}. This logs out every other device.`,
})
