import { randomBytes } from 'node:crypto'
import { expect, test } from '@jest/globals'
import { openSecrets } from '../../src/secrets/load-secrets.ts'
import { createSources, type SecretVersion } from '../../src/secrets/sources.ts'

test.each(['', ' ', '\n'])(
  'one secret for both purposes is refused, also with %j behind it [E1]',
  async (end) => {
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
  },
)

test('a secret that appears for a second purpose stays with the first one [E4]', async () => {
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

test('a file that is overwritten with the secret of another purpose does not disturb that purpose [E4]', async () => {
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
