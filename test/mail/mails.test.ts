import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { createTestApp, newEmail, queueHello, send, type TestApp } from '../support/app.ts'
import { databaseName } from '../support/database.ts'
import { type ScriptedSmtp, startSmtp } from '../support/smtp.ts'

let smtp: ScriptedSmtp
let t: TestApp
beforeEach(async () => {
  smtp = await startSmtp()
  t = await createTestApp({
    SMTP_URL: `smtp://auth:hunter2-of-smtp@127.0.0.1:${smtp.port}`,
    MAIL_FROM: 'Example <auth@example.com>',
  })
})
afterEach(async () => {
  await t.close()
  await smtp.close()
})

describe(`mails on ${databaseName}`, () => {
  test('a refused login is logged once without the password, /readyz stays 200, and a metric tells', async () => {
    smtp.react = (stage) => (stage === 'auth' ? 535 : 'ok')
    await queueHello(t, newEmail())
    await queueHello(t, newEmail())
    await t.mails()

    const lines = t.log.filter(({ event }) => event === 'mail_outage')
    expect(lines).toMatchObject([{ level: 50, stage: 'AUTH PLAIN', reply: 535 }])
    expect(JSON.stringify(t.log)).not.toContain('hunter2')
    await send(t.app, 'GET /readyz').expect(200)
    expect(await t.metrics.registry.metrics()).toMatch(/^outbox_waiting 2$/m)
  })

  test('the log names no recipient, although the SMTP server does', async () => {
    smtp.react = (stage) => (stage === 'rcpt' ? 550 : 'ok')
    const email = newEmail()
    await queueHello(t, email)
    await t.mails()

    expect(t.log.filter(({ event }) => event === 'mail_refused')).toHaveLength(1)
    expect(JSON.stringify(t.log)).not.toContain(email)
    expect(await t.metrics.registry.metrics()).toMatch(/^mails_total\{result="refused"\} 1$/m)
  })
})
