import { createTransport } from 'nodemailer'
import type { Sender, SmtpServer } from '../config/mail.ts'
import type { OutgoingMail } from './outgoing.ts'

/** How an attempt to send a mail ended. Contains no word of the server, because servers repeat addresses. */
export type Delivery =
  | { kind: 'sent' }
  /** The server refuses this mail, and would refuse it again. */
  | { kind: 'refused'; reply: number }
  /** The server takes no mail now. Another attempt may succeed. */
  | { kind: 'outage'; stage: string; reply: number | undefined; fault: string | undefined }

/** Sends a mail, or ends early when `signal` is aborted. */
export type SendMail = (mail: OutgoingMail, signal: AbortSignal) => Promise<Delivery>

// One recipient whose server is slow occupies one connection, and the others go on.
export const connections = 5

/**
 * Sends mails to an SMTP server. Keeps its connections open for a while, because a handshake takes longer than a mail.
 * @param options.read reads SMTP_URL; throws an Error that says what is wrong with it
 * @param options.connectMs how long a connection and its greeting may take; `idleMs`: how long the server may be silent
 * @param options.onProblem called when SMTP_URL cannot be read again; the server goes on with the last good one
 */
export function createSmtp(options: {
  read: () => Promise<SmtpServer>
  from: Sender
  connectMs?: number
  idleMs?: number
  onProblem: (message: string) => void
}) {
  const { name = '', address } = options.from
  const times = { connectMs: options.connectMs ?? 10_000, idleMs: options.idleMs ?? 30_000 }
  const domain = address.slice(address.lastIndexOf('@') + 1)
  let current: { text: string; transport: ReturnType<typeof open> } | undefined
  let problem: string | undefined

  /** Reads SMTP_URL again. The next mail uses it. Mails under way end on their connections. */
  async function reload(): Promise<void> {
    try {
      const server = await options.read()
      problem = undefined
      const text = JSON.stringify(server)
      if (text === current?.text) return
      current?.transport.close()
      current = { text, transport: open(server, times) }
    } catch (error) {
      const { message } = error as Error
      if (message !== problem) options.onProblem(message)
      problem = message
    }
  }

  async function send(mail: OutgoingMail, signal: AbortSignal): Promise<Delivery> {
    if (!current) await reload()
    if (!current) return { kind: 'outage', stage: 'SMTP_URL', reply: undefined, fault: undefined }
    const { transport } = current
    try {
      await transport.sendMail({
        messageId: `<${mail.id}@${domain}>`,
        from: { name, address },
        // As an object. A text would be parsed, and could become several recipients.
        to: { name: '', address: mail.to },
        date: mail.at,
        subject: mail.subject,
        text: mail.text,
        html: mail.html,
        headers: { 'Auto-Submitted': 'auto-generated' }, // RFC 3834: out-of-office notes do not answer it
        disableFileAccess: true,
        disableUrlAccess: true,
        signal,
      })
      return { kind: 'sent' }
    } catch (error) {
      const delivery = deliveryOf(error as SmtpError)
      // An error of the former server is no outage. Mails that waited for its connections end with one too.
      if (delivery.kind === 'outage' && transport !== current.transport && !signal.aborted)
        return send(mail, signal)
      return delivery
    }
  }

  return { send, reload, close: () => current?.transport.close() }
}

function open(
  { host, port, tls, login }: SmtpServer,
  { connectMs, idleMs }: { connectMs: number; idleMs: number },
) {
  const transport = createTransport({
    pool: true,
    maxConnections: connections,
    maxMessages: 100,
    // A server may close an idle connection while a mail is on its way to it.
    maxRequeues: 1,
    idleTimeout: 10_000,
    host,
    port,
    secure: tls === 'implicit',
    requireTLS: tls === 'starttls',
    ignoreTLS: tls === 'none',
    tls: { rejectUnauthorized: true }, // whatever NODE_TLS_REJECT_UNAUTHORIZED says
    connectionTimeout: connectMs,
    greetingTimeout: connectMs,
    dnsTimeout: connectMs,
    socketTimeout: idleMs,
    // Without forceAuth, mails would go without a login if the server offers none.
    ...(login && { auth: { user: login.user, pass: login.password }, forceAuth: true }),
  })
  return transport.on('error', () => {}) // The failed mails report it.
}

interface SmtpError extends Error {
  /** The command that failed, or CONN. */
  command?: string
  responseCode?: number | false
  code?: string
  originalCode?: string
}

/** Only the recipient or the content of a mail can be the fault of that mail. All else befalls the other mails too. */
function deliveryOf({ command = 'CONN', responseCode, code, originalCode }: SmtpError): Delivery {
  const reply = responseCode || undefined
  if (reply && reply >= 500 && (command === 'RCPT TO' || command === 'DATA'))
    return { kind: 'refused', reply }
  return { kind: 'outage', stage: command, reply, fault: originalCode ?? code }
}
