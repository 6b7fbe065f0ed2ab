import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import { type Challenge, createLogin, type LoginOutcome } from '../../src/auth/login.ts'
import { createPasswords, type Passwords } from '../../src/auth/password.ts'
import { createSessionStore } from '../../src/store/sessions.ts'
import { createUserStore } from '../../src/store/users.ts'
import { otherPassword, password, register, useTestApp } from '../support/app.ts'
import { notUnderTest, someDevice } from '../support/fakes.ts'

const t = useTestApp()
const limits = { idleSeconds: 100, absoluteSeconds: 100, graceSeconds: 0, perUser: 9 }
const challenge: Challenge = { challenge: 'c', expiresIn: 300, methods: ['totp'] }
const secondFactor = jest.fn<NonNullable<Parameters<typeof createLogin>[0]['secondFactor']>>()
let passwords: Passwords
let login: (email: string, password: string) => Promise<LoginOutcome>
beforeAll(() => {
  passwords = createPasswords({ cost: 4, minLength: 15, context: [] })
  const attempt = createLogin({
    ...notUnderTest,
    users: createUserStore(t.db),
    sessions: createSessionStore({ ...t.db, limits }),
    passwords,
    prepareDeviceGrant: () => (state) => state as never,
    newSessionFor: async ({ ip, userAgent }, amr) => ({
      id: randomUUID(),
      ip,
      userAgent,
      amr,
      replaces: undefined,
    }),
    secondFactor,
  })
  login = (email, text) => attempt(email, text, someDevice)
})
afterAll(() => passwords.close())

/** Registers a user. `sessions` counts the sessions of the user. */
async function newUser() {
  const { email, userId } = await register(t.app)
  const sessions = async () => (await t.db.rows(sql`SELECT FROM sessions WHERE user_id = ${userId}`)).length
  return { email, userId, sessions }
}

test('a login with the right password starts no session if a feature demands a second factor', async () => {
  const { email, userId, sessions } = await newUser()
  secondFactor.mockResolvedValueOnce(challenge)

  expect(await login(email, password)).toEqual({ kind: 'second_factor_required', challenge })

  expect(await sessions()).toBe(1)
  expect(secondFactor).toHaveBeenLastCalledWith(expect.objectContaining({ userId }), someDevice)
})

test('a login starts a session if the account has no second factor', async () => {
  const { email, sessions } = await newUser()
  secondFactor.mockResolvedValueOnce(undefined)

  expect(await login(email, password)).toMatchObject({ kind: 'granted' })

  expect(await sessions()).toBe(2)
})

test('a login with a wrong password does not reveal whether the account has a second factor', async () => {
  const { email } = await newUser()
  secondFactor.mockClear()

  await expect(login(email, otherPassword)).rejects.toMatchObject({ code: 'invalid_credentials' })

  expect(secondFactor).not.toHaveBeenCalled()
})
