import { expect, jest, test } from '@jest/globals'
import { createChangePassword } from '../../src/auth/change-password.ts'
import { notUnderTest, someDevice } from '../support/fakes.ts'

const access = { userId: 'u', sessionId: 's', role: 'user' }

/** A change of the password. When it first stores the new hash, another request has replaced the old one. */
function overtakenChange(isStillRight: boolean) {
  const verify = jest.fn<() => Promise<boolean>>().mockResolvedValueOnce(true).mockResolvedValue(isStillRight)
  const store = jest.fn<() => Promise<unknown>>().mockResolvedValueOnce(undefined).mockResolvedValue({})
  const deps = {
    ...notUnderTest,
    users: { credentialsById: async () => ({ passwordHash: 'hash' }) },
    sessions: { find: async () => ({ user: { email: 'ada@example.com' } }), changePassword: store },
    passwords: {
      refuseIfFull: () => {},
      problem: () => undefined,
      verify,
      hash: async () => ({ passwordHash: 'new', passwordScheme: 1 }),
    },
    prepareDeviceGrant: () => () => ({}),
    newSessionFor: async () => ({}),
  }
  const change = createChangePassword(deps as unknown as Parameters<typeof createChangePassword>[0])
  return { change: () => change(access, 'current password', 'new password', someDevice), store }
}

test('a change after a rehash verifies the current password again, and succeeds', async () => {
  const { change, store } = overtakenChange(true)

  await change()

  expect(store).toHaveBeenCalledTimes(2)
})

test('a change after another change finds the current password wrong [B8]', async () => {
  const { change, store } = overtakenChange(false)

  await expect(change()).rejects.toMatchObject({ code: 'wrong_password' })

  expect(store).toHaveBeenCalledTimes(1)
})
