import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { type ParsedMail, simpleParser } from 'mailparser'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'

export type Stage = 'connect' | 'auth' | 'mail' | 'rcpt' | 'data'
/** A reply code, silence, or a connection that is closed. */
export type Reaction = 'ok' | number | 'hang' | 'drop'

/** A mail that the server took. */
export interface TakenMail extends ParsedMail {
  from_: string
  to_: string[]
  raw: string
}

/** An SMTP server in this process, which does what a test says. */
export interface ScriptedSmtp {
  port: number
  mails: TakenMail[]
  /** What it does at each stage. `to`: the recipient, at the stages that know it. */
  react: (stage: Stage, to: string) => Reaction | Promise<Reaction>
  /** What it waits for after it took a mail, before it tells the client. */
  beforeReply: () => Promise<unknown>
  /** How often clients reached each stage. */
  reached: Record<Stage, number>
  /** Returns when it has taken `count` mails. */
  taken(count: number): Promise<void>
  close(): Promise<void>
}

/** Starts a server on a free port of this machine. */
export async function startSmtp(options: SMTPServerOptions = {}, port = 0): Promise<ScriptedSmtp> {
  const sockets = new Map<number | undefined, Socket>()
  const smtp = {
    mails: [] as TakenMail[],
    reached: { connect: 0, auth: 0, mail: 0, rcpt: 0, data: 0 },
    react: (() => 'ok') as ScriptedSmtp['react'],
    beforeReply: async (): Promise<unknown> => undefined,
  }
  const waiting: (() => void)[] = []

  type Session = { remotePort: number; envelope: { rcptTo: { address: string }[] } }
  async function at(stage: Stage, session: Session, to: string, answer: (error?: Error) => void) {
    smtp.reached[stage] += 1
    const reaction = await smtp.react(stage, to)
    if (reaction === 'ok') answer()
    else if (reaction === 'drop') sockets.get(session.remotePort)?.destroy()
    else if (reaction !== 'hang')
      answer(Object.assign(new Error(`no <${to}> for you`), { responseCode: reaction }))
  }
  const recipientOf = ({ envelope }: Session) => envelope.rcptTo[0]?.address ?? ''

  const server = new SMTPServer({
    authOptional: true,
    allowInsecureAuth: true,
    hideSTARTTLS: true,
    disableReverseLookup: true,
    logger: false,
    ...options,
    onConnect: (session, done) => at('connect', session, '', done),
    onAuth: ({ username, password }, session, done) =>
      at('auth', session, '', (error) => done(error, { user: `${username}:${password}` })),
    onMailFrom: (_from, session, done) => at('mail', session, '', done),
    onRcptTo: ({ address }, session, done) => at('rcpt', session, address, done),
    async onData(stream, session, done) {
      const chunks: Buffer[] = []
      try {
        for await (const chunk of stream) chunks.push(chunk)
      } catch {
        return // The client was killed.
      }
      const raw = Buffer.concat(chunks).toString()
      const parsed = await simpleParser(raw)
      const { mailFrom, rcptTo } = session.envelope
      at('data', session, recipientOf(session), async (error) => {
        if (!error) {
          const from_ = mailFrom ? mailFrom.address : ''
          smtp.mails.push({ ...parsed, from_, to_: rcptTo.map(({ address }) => address), raw })
          for (const wake of waiting.splice(0)) wake()
          await smtp.beforeReply()
        }
        done(error)
      })
    },
  })
  server.on('error', () => {}) // a client that closes its connection
  server.server.on('connection', (socket) => sockets.set(socket.remotePort, socket))
  server.listen(port, '0.0.0.0')
  await once(server.server, 'listening')
  return Object.assign(smtp, {
    port: (server.server.address() as AddressInfo).port,
    async taken(count: number) {
      while (smtp.mails.length < count) await new Promise<void>((resolve) => waiting.push(resolve))
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(resolve))
      // Not below TLS: that crashes Node in the middle of a handshake.
      if (!options.secure) for (const socket of sockets.values()) socket.destroy()
      await closed
    },
  })
}

/** Returns how often each Message-ID was taken. */
export function copiesIn(mails: readonly TakenMail[]): Map<string, number> {
  const copies = new Map<string, number>()
  for (const { messageId = '' } of mails) copies.set(messageId, (copies.get(messageId) ?? 0) + 1)
  return copies
}
