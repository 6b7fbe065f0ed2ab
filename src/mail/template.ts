import type { MailParams } from '../store/schema.ts'

/** A mail as its recipient sees it. Both parts say the same. */
export interface MailText {
  subject: string
  text: string
  html: string
}

/** What a template may show. */
export interface MailFacts {
  params: MailParams
  /** The whole URL of the link in the mail, with its token. */
  link: string | undefined
  /** The host of PUBLIC_URL, which names the site to people. */
  site: string
  /** When the mail was queued, which is when its cause happened. In words. */
  time: string
  /** A sentence that says where the request came from, if the parameters have it. */
  origin: string
}

/** Says what is in a mail, from facts only. So copies of a mail are equal. */
export type Template = (facts: MailFacts) => MailContent

/** The content of a mail, in the order in which people read it. */
export interface MailContent {
  subject: string
  heading: string
  paragraphs: readonly string[]
  /** The one link. Its label says what it does. */
  action?: { label: string; url: string } | undefined
  /** What to do if it was not the recipient. */
  footer: string
}

/** Writes both parts of a mail from the same content. The HTML part loads nothing, so that it cannot track a reader. */
export function layout({ subject, heading, paragraphs, action, footer }: MailContent): MailText {
  const link = action ? [`${action.label}:\n${action.url}`] : []
  const button = action
    ? [
        `<p><a href="${escaped(action.url)}"${buttonStyle}>${escaped(action.label)}</a></p>`,
        paragraph('If the button does not work, copy this address into your browser:'),
        `<p style="word-break:break-all">${escaped(action.url)}</p>`,
      ]
    : []
  const body = [
    `<h1 style="font-size:20px">${escaped(heading)}</h1>`,
    ...paragraphs.map(paragraph),
    ...button,
    `<p style="color:#555">${escaped(footer)}</p>`,
  ]
  return {
    subject,
    text: `${[heading, ...paragraphs, ...link, footer].join('\n\n')}\n`,
    html: page(subject, body),
  }
}

/** Writes a time for people who may live anywhere. */
export const timeForPeople = (at: Date) => `${at.toISOString().slice(0, 16).replace('T', ' ')} UTC`

const buttonStyle =
  ' style="display:inline-block;padding:12px 20px;border-radius:6px;background:#1f4fd8;color:#fff;text-decoration:none"'

const paragraph = (text: string) => `<p>${escaped(text)}</p>`

const page = (title: string, body: string[]) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title>
</head>
<body style="margin:0 auto;max-width:560px;padding:24px;font-family:system-ui,sans-serif;font-size:16px;line-height:1.5;color:#111;background:#fff">
${body.join('\n')}
</body>
</html>
`

const entities: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Escapes a text for HTML, inside an element or a quoted attribute. */
export const escaped = (text: string) => text.replace(/[&<>"']/g, (character) => entities[character] ?? '')
