import { randomBytes } from 'node:crypto'
import { expect, test } from '@jest/globals'
import { openSecrets } from '../../src/secrets/secrets.ts'

test.each(['', ' ', '\n'])('E1 refuses one secret for both purposes, and with %j behind it', async (end) => {
  const secret = randomBytes(48).toString('base64url')

  const { problems } = await openSecrets({
    JWT_ACCESS_SECRET: secret,
    JWT_ACCESS_SECRET_PREVIOUS: undefined,
    JWT_REFRESH_SECRET: secret + end,
    JWT_REFRESH_SECRET_PREVIOUS: undefined,
  }).load()

  expect(problems).toEqual([
    {
      name: 'JWT_REFRESH_SECRET',
      kind: 'refused',
      message: expect.stringMatching(/^is the same as JWT_ACCESS_SECRET/),
    },
  ])
})
