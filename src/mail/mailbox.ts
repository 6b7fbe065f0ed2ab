import type { OutgoingMail } from './outgoing.ts'
import type { SendMail } from './smtp.ts'

const mailsKept = 100

/** Keeps mails in memory instead of sending them, in development and test. */
export function createMailbox() {
  const mails: OutgoingMail[] = []
  const send: SendMail = async (mail) => {
    mails.unshift(mail)
    mails.splice(mailsKept)
    return { kind: 'sent' }
  }
  return {
    send,
    /** Returns the mails, newest first. */
    mails: (): readonly OutgoingMail[] => mails,
  }
}

export type Mailbox = ReturnType<typeof createMailbox>
