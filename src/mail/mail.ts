import type { Logger } from 'pino'
import type { Config } from '../config/config.ts'
import { delay } from '../retry.ts'
import type { Link } from '../store/links.ts'
import type { Outbox } from '../store/outbox.ts'
import { createMailbox } from './mailbox.ts'
import { createWriter } from './outgoing.ts'
import { createSmtp } from './smtp.ts'
import type { Template } from './template.ts'
import { createMailWorker, type MailResult, type MailWorker } from './worker.ts'

// The process has ten seconds to drain.
const drainMs = 7_000

/** Leads the mails of the outbox to the SMTP server, or to the mailbox of development. */
export function createMail(deps: {
  settings: Config['mail']
  reloadSeconds: number
  outbox: Outbox
  templates: Readonly<Record<string, Template>>
  count: (result: MailResult) => void
  log: Pick<Logger, 'info' | 'warn' | 'error'>
  random: () => number
  pollMs: number
}) {
  const { settings, log } = deps
  const mailbox = createMailbox()
  const smtp =
    settings.smtp && settings.from
      ? createSmtp({
          read: settings.smtp,
          from: settings.from,
          onProblem: (message) =>
            log.error({ event: 'smtp_url_refused' }, `${message} Mails go on with the last good one.`),
        })
      : undefined
  const reload = async () => smtp?.reload()
  const reloadTimer = setInterval(reload, deps.reloadSeconds * 1000).unref()
  let worker: MailWorker | undefined

  return {
    mailbox,
    reload,

    /** Begins to send. @param links how links look at the origin of this server */
    start(links: { site: string; accountUrl: string; signLink: (link: Link, kid: string) => string }): void {
      if (!settings.on) {
        log.warn(
          { event: 'no_mail' },
          'SMTP_URL is not set. So users cannot reset passwords, and notices are dropped. Set SMTP_URL and MAIL_FROM.',
        )
        return
      }
      const { templates } = deps
      worker = createMailWorker({
        ...deps,
        templates: Object.keys(templates),
        write: createWriter({ templates, ...links }),
        send: smtp?.send ?? mailbox.send,
        delay,
        drainMs,
      })
      worker.wake()
    },

    wake: () => worker?.wake(),
    /** Waits until no mail is due. */
    settle: async () => worker?.settle(),

    /** Takes no more mails, and waits for those under way. */
    async stop(): Promise<void> {
      clearInterval(reloadTimer)
      await worker?.stop()
      smtp?.close()
    },
  }
}
