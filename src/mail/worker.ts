import type { Logger } from 'pino'
import { AuthError } from '../errors.ts'
import { type Delay, retry } from '../retry.ts'
import type { HeldMail, Outbox } from '../store/outbox.ts'
import type { WriteMail } from './outgoing.ts'
import { connections, type Delivery, type SendMail } from './smtp.ts'

/** How a mail, or an attempt to send it, ended. */
export type MailResult = 'sent' | 'retried' | 'refused' | 'expired'

// Enough that no connection waits for the database. Mails are taken by the handful, to ask the database less often.
const heldAtOnce = 2 * connections
const handful = connections

const renewMs = 15_000
// The longest that one mail may take, however slowly the server answers.
const sendMs = 120_000
const firstPauseSeconds = { least: 1, most: 5 }
const longestPauseSeconds = 300

/**
 * Sends the mails of the outbox. Any number of workers share the outbox: each mail is leased to one. A worker that dies
 * after the server took a mail leaves the mail to another one, which sends a copy. So no mail is lost.
 * @param deps.random returns numbers from 0 to 1; it spreads the attempts of many mails
 * @param deps.drainMs how long `stop` waits for mails under way
 */
export function createMailWorker(deps: {
  outbox: Outbox
  templates: string[]
  write: WriteMail
  send: SendMail
  count: (result: MailResult) => void
  log: Pick<Logger, 'info' | 'warn' | 'error'>
  delay: Delay
  random: () => number
  pollMs: number
  drainMs: number
}) {
  const { outbox, log } = deps
  const held = new Map<string, { work: Promise<void>; abort: () => void }>()
  const leased = new Set<string>()
  let renewing: Promise<unknown> | undefined
  let isStopping = false
  let isGivingUp = false
  let taking: Promise<void> | undefined
  let isWanted = false
  let isOutage = false

  const pollTimer = setInterval(wake, deps.pollMs).unref()
  const renewTimer = setInterval(renewLeases, renewMs).unref()

  function renewLeases(): void {
    if (leased.size > 0) renewing = quietly(outbox.renew([...leased]))
  }

  const mayTake = () => !isStopping && held.size <= heldAtOnce - handful

  /** Takes mails as long as some are due and there is room. A second call makes the first one look again. */
  function wake(): void {
    isWanted = true
    if (mayTake()) taking ??= takeAll()
  }

  async function takeAll(): Promise<void> {
    while (isWanted && mayTake()) {
      isWanted = false
      const mails = (await quietly(outbox.take(deps.templates, heldAtOnce - held.size))) ?? []
      // After a pause of the process its own leases have ended. A mail that it still holds is under way.
      for (const mail of mails) if (!held.has(mail.id)) hold(mail)
      if (mails.length > 0) isWanted = true
    }
    taking = undefined
  }

  function giveUp(): void {
    isGivingUp = true
    for (const { abort } of held.values()) abort()
  }

  async function finished(): Promise<void> {
    while (taking || held.size > 0) await Promise.all([taking, ...[...held.values()].map(({ work }) => work)])
  }

  function hold(mail: HeldMail): void {
    const late = new AbortController()
    const abort = () => late.abort()
    const timer = setTimeout(abort, sendMs).unref()
    const work = deliver(mail, late.signal)
      .catch((error: Error) => giveBackAfterFault(mail, error))
      .finally(() => {
        clearTimeout(timer)
        held.delete(mail.id)
        leased.delete(mail.id)
        wake()
      })
    held.set(mail.id, { work, abort })
    leased.add(mail.id)
  }

  async function deliver(mail: HeldMail, signal: AbortSignal): Promise<void> {
    if (mail.isOver) return close(mail, 'expired')
    const outgoing = deps.write(mail)
    if (mail.recipient === null) return close(mail, undefined)
    const delivery = await deps.send(outgoing, signal)
    if (delivery.kind === 'outage' && isGivingUp) return putBack(mail, 0)
    report(mail, delivery)
    // Never give back what the server has taken. If the outbox cannot be told, the lease ends by itself.
    if (delivery.kind !== 'outage') return quietly(close(mail, delivery.kind))
    deps.count('retried')
    await putBack(mail, pauseAfter(mail.tries))
  }

  /** Decoys count in no metric. */
  async function close(mail: HeldMail, result: MailResult | undefined): Promise<void> {
    const isFirst = await persistently(() => outbox.close(mail.id))
    if (isFirst && result && mail.recipient !== null) deps.count(result)
  }

  async function putBack(mail: HeldMail, pauseSeconds: number): Promise<void> {
    await endRenewals(mail)
    await persistently(() => outbox.putBack(mail, pauseSeconds))
  }

  /** Otherwise a renewal after the mail is given back would replace its pause. */
  async function endRenewals({ id }: HeldMail): Promise<void> {
    leased.delete(id)
    await renewing
  }

  // What was sent must not be sent again because the database was away for a moment.
  const persistently = <T>(work: () => Promise<T>) =>
    retry(work, {
      pauseMs: (error) => (error instanceof AuthError && !isStopping ? 1000 : undefined),
      delay: deps.delay,
    })

  function pauseAfter(tries: number): number {
    const { least, most } = firstPauseSeconds
    const first = least + deps.random() * (most - least)
    return Math.min(first * 2 ** (tries - 1), longestPauseSeconds)
  }

  function report({ id, template }: HeldMail, delivery: Delivery): void {
    if (delivery.kind === 'refused')
      log.warn(
        { event: 'mail_refused', mail: id, template, reply: delivery.reply },
        'The SMTP server refused a mail for good. The table outbox has its recipient for a day.',
      )
    else if (delivery.kind === 'outage') reportOutage(delivery)
    else if (delivery.kind === 'sent' && isOutage) {
      isOutage = false
      log.info({ event: 'mail_works' }, 'The SMTP server takes mails again.')
    }
  }

  function reportOutage({ stage, reply, fault }: Extract<Delivery, { kind: 'outage' }>): void {
    if (isOutage) return
    isOutage = true
    const advice = stage.startsWith('AUTH')
      ? 'Correct the user and the password in SMTP_URL.'
      : 'Check the SMTP server and SMTP_URL.'
    log.error(
      { event: 'mail_outage', stage, reply, fault },
      `The SMTP server takes no mails (${[stage, reply ?? fault].join(', ')}). They wait. ${advice}`,
    )
  }

  /** A fault of this server must not lose a mail either. A missing key is reported elsewhere. */
  async function giveBackAfterFault(mail: HeldMail, error: Error): Promise<void> {
    if (!(error instanceof AuthError))
      log.error(
        { event: 'mail_failed', mail: mail.id, template: mail.template, err: error },
        'A mail could not be written. It waits for another attempt.',
      )
    await endRenewals(mail)
    await quietly(outbox.putBack(mail, pauseAfter(mail.tries)))
  }

  /** Returns undefined if the database is unavailable, which `/readyz` reports. */
  async function quietly<T>(work: Promise<T>): Promise<T | undefined> {
    try {
      return await work
    } catch (error) {
      if (!(error instanceof AuthError))
        log.error({ event: 'outbox_failed', err: error }, 'The outbox cannot be read or written.')
      return undefined
    }
  }

  return {
    wake,

    /** Waits until no mail is due. */
    async settle(): Promise<void> {
      wake()
      await finished()
    },

    /** Takes no more mails. Waits for those under way, and gives them back if they take too long. */
    async stop(): Promise<void> {
      isStopping = true
      clearInterval(pollTimer)
      const late = setTimeout(giveUp, deps.drainMs)
      await finished()
      clearTimeout(late)
      clearInterval(renewTimer)
    },
  }
}

export type MailWorker = ReturnType<typeof createMailWorker>
