import { expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import { createThrottle, type Limits } from '../../src/auth/throttle.ts'
import { createAttemptStore } from '../../src/store/attempts.ts'
import { useTestApp } from '../support/app.ts'
import { somewhere } from '../support/fakes.ts'

const t = useTestApp()
const limits: Limits = {
  loginAccount: undefined,
  loginAddress: undefined,
  registerAddress: undefined,
  mailAddress: undefined,
  mailRecipient: undefined,
}
const throttleWith = (own: Partial<Limits>) =>
  createThrottle({
    attempts: createAttemptStore(t.db),
    limits: { ...limits, ...own },
    addressDigest: (email) => `digest-${email.length}`,
  })
const keys = async () =>
  (await t.db.rows<{ key: string }>(sql`SELECT key FROM attempts ORDER BY key`)).map(({ key }) => key)

test('beyond LIMIT_MAIL_RECIPIENT a recipient gets no more mails of a purpose, until the window ends', async () => {
  const { mayMail } = throttleWith({ mailRecipient: { attempts: 2, seconds: 60 } })
  const ask = (purpose: 'reset' | 'verify') => mayMail('ada@example.com', purpose, somewhere)

  expect([await ask('reset'), await ask('reset'), await ask('reset')]).toEqual([true, true, false])
  expect(await ask('verify')).toBe(true)
  await t.pass(61)
  expect(await ask('reset')).toBe(true)
})

test('parallel requests do not exceed LIMIT_MAIL_RECIPIENT', async () => {
  const { mayMail } = throttleWith({ mailRecipient: { attempts: 3, seconds: 60 } })

  const answers = await Promise.all(
    Array.from({ length: 20 }, () => mayMail('grace@example.com', 'reset', somewhere)),
  )

  expect(answers.filter((may) => may)).toHaveLength(3)
})

test('the table of attempts and the audit contain an HMAC, and not the address', async () => {
  const { mayMail } = throttleWith({ mailRecipient: { attempts: 1, seconds: 60 } })
  await mayMail('secret@example.com', 'reset', somewhere)
  await mayMail('secret@example.com', 'reset', somewhere)

  expect(await keys()).toContain('mail-recipient:reset:digest-18')
  const tables = await t.db.rows(sql`SELECT to_jsonb(a)::text FROM attempts a UNION ALL
    SELECT to_jsonb(e)::text FROM audit_events e`)
  expect(JSON.stringify(tables)).not.toContain('secret@')
  expect(JSON.stringify(tables)).toContain('mail-recipient')
})

test('beyond LIMIT_MAIL_ADDRESS a network gets 429, and a /48 as a whole later', async () => {
  const { mailRequest } = throttleWith({ mailAddress: { attempts: 2, seconds: 60 } })
  const from = (ip: string) => mailRequest({ ...somewhere, ip })

  await from('2001:db8::1')
  await from('2001:db8::2')
  await expect(from('2001:db8::3')).rejects.toMatchObject({ code: 'too_many_attempts' })
  await from('2001:db8:0:1::1')
  await from('192.0.2.99')
})

test('limits that are off count nothing', async () => {
  const before = await keys()
  const { mailRequest, mayMail } = throttleWith({})

  await mailRequest(somewhere)
  expect(await mayMail('ada@example.com', 'reset', somewhere)).toBe(true)
  expect(await keys()).toEqual(before)
})
