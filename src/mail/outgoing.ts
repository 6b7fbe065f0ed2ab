import type { Link } from '../store/links.ts'
import type { HeldMail } from '../store/outbox.ts'
import type { MailText, Template } from './template.ts'

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
  return function write({
    id,
    template,
    recipient,
    params,
    createdAt: at,
    link,
    kid,
  }: HeldMail): OutgoingMail {
    const writeText = templates[template]
    if (!writeText) throw new Error(`There is no template ${template}.`)
    const url = link && `${accountUrl}#${link.purpose}=${signLink(link, kid)}`
    return { id, to: recipient ?? '', at, ...writeText({ params, link: url, site, at }) }
  }
}

export type WriteMail = ReturnType<typeof createWriter>
