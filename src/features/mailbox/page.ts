import { escaped } from '../../mail/template.ts'

interface ShownMail {
  at: string
  to: string
  subject: string
  text: string
  html: string
}

/** Mails bring their own styles. Nothing runs, and nothing loads. */
export const mailboxPolicy =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** Returns the page. It shows each mail as mail programs do: in a frame in which nothing runs. */
export const mailboxPage = (mails: readonly ShownMail[]) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Mails of the auth server</title>
<style>
:root { color-scheme: light dark }
body { font-family: system-ui, sans-serif; line-height: 1.5; max-width: 760px; margin: 0 auto; padding: 24px }
article { border: 1px solid #8886; border-radius: 8px; margin: 24px 0; padding: 16px }
h2 { font-size: 18px; margin: 0 }
iframe { border: 1px solid #8886; width: 100%; height: 460px; background: #fff; color-scheme: light }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
</style>
</head>
<body>
<h1>Mails</h1>
<p>This server has no SMTP server. So mails come here, newest first, until it stops. <a href="/demo/mailbox">Look again</a></p>
${mails.length > 0 ? mails.map(article).join('\n') : '<p>No mail yet.</p>'}
</body>
</html>
`

const article = ({ at, to, subject, text, html }: ShownMail) => `<article>
<h2>${escaped(subject)}</h2>
<p>To ${escaped(to)}, <time datetime="${at}">${at.slice(0, 19).replace('T', ' ')} UTC</time></p>
<iframe title="${escaped(subject)}" sandbox="allow-top-navigation-by-user-activation" srcdoc="${escaped(withLinksInPage(html))}"></iframe>
<details><summary>Text part</summary><pre>${escaped(text)}</pre></details>
</article>`

// Links open in the page, not in the frame.
const withLinksInPage = (html: string) => html.replace('<head>', '<head><base target="_top">')
