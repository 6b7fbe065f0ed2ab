import type { Link } from '../store/links.ts'
import type { HeldMail } from '../store/outbox.ts'
import { originSentence } from './origin.ts'
import { layout, type MailText, type Template, timeForPeople } from './template.ts'

/** A mail that is ready to send. It contains a token, so it is never stored. */
export interface OutgoingMail extends MailText {
  /** The same for every copy, so that mailboxes can show one. */
  id: string
  to: string
  at: Date
}

/** Writes mails. Copies of a mail are equal, because all that is in them comes from its row and the settings. */
export function createWriter(deps: {
  templates: Readonly<Record<string, Template>>
  signLink: (link: Link, kid: string) => string
  accountUrl: string
  /** The host of PUBLIC_URL. */
  site: string
}) {
  const { templates, signLink, accountUrl, site } = deps

  /** @throws AuthError `unavailable` if there is no key to sign the link with */
  return function write({ id, recipient, params, link, ...mail }: HeldMail): OutgoingMail {
    const template = templates[mail.template]
    if (!template) throw new Error(`There is no template ${mail.template}.`)
    const at = mail.createdAt
    const url = link && `${accountUrl}#${link.purpose}=${signLink(link, mail.kid)}`
    const facts = { params, link: url, site, time: timeForPeople(at), origin: originSentence(params) }
    return { id, to: recipient ?? '', at, ...layout(template(facts)) }
  }
}

export type WriteMail = ReturnType<typeof createWriter>
