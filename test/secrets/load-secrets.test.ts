import { randomBytes } from 'node:crypto'
import { expect, test } from '@jest/globals'
import { openSecrets } from '../../src/secrets/load-secrets.ts'
import { createSources, type SecretVersion } from '../../src/secrets/sources.ts'

test.each(['', ' ', '\n'])('E1 refuses one secret for both purposes, and with %j behind it', async (end) => {
  const secret = randomBytes(48).toString('base64url')

  const { problems } = await openSecrets(
    {
      JWT_ACCESS_SECRET: secret,
      JWT_REFRESH_SECRET: secret + end,
    },
    createSources({}),
  ).load()

  expect(problems).toEqual([
    {
      name: 'JWT_REFRESH_SECRET',
      kind: 'refused',
      source: 'environment',
      message: expect.stringMatching(/^is the same as JWT_ACCESS_SECRET/),
    },
  ])
})

test('E4 a secret that turns up for a second purpose stays with the one that had it first', async () => {
  const [shared, older] = [randomBytes(48).toString('base64url'), randomBytes(48).toString('base64url')]
  const history: Record<string, SecretVersion[]> = {
    'ref+file:///refresh': [{ value: shared, createdAt: 1_000, source: 'refresh' }],
    'ref+file:///access': [
      { value: shared, createdAt: 2_000, source: 'access' },
      { value: older, createdAt: 500, source: 'access' },
    ],
  }
  const openSource = (text: string) => ({
    label: text,
    versions: async () => history[text] ?? [],
    history: async () => [],
  })

  const { versions, problems } = await openSecrets(
    { JWT_ACCESS_SECRET: 'ref+file:///access', JWT_REFRESH_SECRET: 'ref+file:///refresh' },
    openSource,
  ).load()

  expect(versions.JWT_ACCESS_SECRET?.map(({ value }) => value)).toEqual([older])
  expect(versions.JWT_REFRESH_SECRET?.map(({ value }) => value)).toEqual([shared])
  expect(problems.map(({ name }) => name)).toEqual(['JWT_ACCESS_SECRET'])
})

test('E4 a file that is overwritten with the secret of another purpose takes nothing from that one', async () => {
  const shared = randomBytes(48).toString('base64url')
  const openSource = (text: string) => ({
    label: text,
    versions: async (): Promise<SecretVersion[]> =>
      text.endsWith('refresh')
        ? [{ value: shared, createdAt: 1_000, source: text }]
        : [{ value: shared, source: text }],
    history: async () => [],
  })

  const { versions, problems } = await openSecrets(
    { JWT_ACCESS_SECRET: 'ref+file:///access', JWT_REFRESH_SECRET: 'ref+vault://refresh' },
    openSource,
  ).load()

  expect([versions.JWT_ACCESS_SECRET, versions.JWT_REFRESH_SECRET?.length]).toEqual([undefined, 1])
  expect(problems.map(({ name }) => name)).toEqual(['JWT_ACCESS_SECRET'])
})
