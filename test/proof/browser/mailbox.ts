import { eventually } from './eventually.ts'

/** Waits for a mail with a link of this purpose to an address. Returns the newest one, `ACCOUNT_URL#PURPOSE=TOKEN`. */
export async function linkIn(server: { url: string }, email: string, purpose: string): Promise<string> {
  let link: string | undefined
  await eventually(async () => {
    const answer = await fetch(`${server.url}/demo/mailbox`, { headers: { Accept: 'application/json' } })
    const { mails } = (await answer.json()) as { mails: { to: string; text: string }[] }
    const texts = mails.filter(({ to }) => to === email).map(({ text }) => text)
    link = texts.flatMap((text) => new RegExp(`http\\S+#${purpose}=[\\w.-]+`).exec(text) ?? [])[0]
    return link !== undefined
  })
  return String(link)
}
