import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import { type Database, rowsOf } from '../../../src/store/database.ts'
import { openDatabase } from '../../../src/store/open-database.ts'
import type { LinkPurpose } from '../../../src/store/schema.ts'
import { createPostgresDatabase } from '../../support/database.ts'
import { publicUrl } from '../../support/environment.ts'
import { newLink } from '../../support/links.ts'
import { describeOnPostgres, postgresServer } from '../../support/require-postgres.ts'
import { type Answer, type ServerProcess, send, startServer } from '../../support/server.ts'
import { longTestMs } from '../../support/time-limits.js'

jest.setTimeout(longTestMs)

/**
 * How often each pair races. `.ci/run` sets 8, because 50 take minutes. To run 50:
 * `RACE_ROUNDS=50 npm run test:processes -- races`.
 */
const rounds = Number(process.env.RACE_ROUNDS ?? 3)

const passwords = {
  old: 'my dog is called rex',
  changed: 'my cat is called tux',
  reset: 'my owl is called max',
}

/** An account whose address was changed once, with two sessions and a live link of each purpose. */
interface Account {
  userId: string
  /** The former address, the present one, and the one that it changes to. */
  emails: { former: string; present: string; next: string }
  /** The session that asks. */
  asking: Answer
  other: Answer
  tokens: { email: string; undo: string; reset: string }
}

describeOnPostgres('two changes of an account race on two servers', () => {
  let drop: () => Promise<void>
  let database: Database
  let servers: [ServerProcess, ServerProcess]
  beforeAll(async () => {
    const created = await createPostgresDatabase(postgresServer)
    drop = created.drop
    const settings = { DATABASE_URL: created.url, PUBLIC_URL: publicUrl }
    const limits = { LIMIT_MAIL_RECIPIENT: 'off', LIMIT_MAIL_ADDRESS: 'off' }
    servers = await Promise.all([
      startServer({ ...settings, ...limits }),
      startServer({ ...settings, ...limits }),
    ])
    database = await openDatabase({ url: created.url, folder: '', onTrouble: () => {} })
  })
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.end('SIGTERM')))
    await database.close()
    await drop()
  })

  const rows = <T = Record<string, unknown>>(statement: ReturnType<typeof sql>) =>
    database.run((queries) => rowsOf<T>(queries, statement))
  const post = (server: number, path: string, options: Parameters<typeof send>[2] = {}) =>
    send('POST', `${servers[server]?.url}/auth/${path}`, options)
  const login = (server: number, email: string, password = passwords.old) =>
    post(server, 'login', { body: { email, password } })

  let users = 0
  async function newAccount(): Promise<Account> {
    const [former, present, next] = ['former', 'present', 'next'].map(
      (name) => `${name}-${++users}@example.com`,
    ) as [string, string, string]
    const asking = await post(0, 'register', { body: { email: present, password: passwords.old } })
    const { id: userId } = asking.body.user as { id: string }
    await rows(sql`UPDATE users SET email_verified_at = now() WHERE id = ${userId}`)
    const other = await login(1, present)
    const link = (purpose: LinkPurpose, email: string) =>
      newLink({ db: { database } as never }, purpose, { userId, email })
    const tokens = {
      undo: await link('undo', former),
      email: await link('email', next),
      reset: await link('reset', present),
    }
    return { userId, emails: { former, present, next }, asking, other, tokens }
  }

  type Act = (account: Account, server: number) => Promise<Answer | undefined>
  const acts = {
    'a change of address': ({ asking, tokens }, server) =>
      post(server, 'email/confirm', { accessToken: asking.accessToken, body: { token: tokens.email } }),
    'an undo': ({ tokens }, server) => post(server, 'email/undo', { body: { token: tokens.undo } }),
    'a reset': ({ tokens }, server) =>
      post(server, 'password/reset', { body: { token: tokens.reset, newPassword: passwords.reset } }),
    'a password change': ({ asking }, server) =>
      post(server, 'password', {
        accessToken: asking.accessToken,
        body: { currentPassword: passwords.old, newPassword: passwords.changed },
      }),
    'logout-all': ({ asking }, server) => post(server, 'logout-all', { accessToken: asking.accessToken }),
    'a disabling': async ({ userId }) => {
      await rows(sql`UPDATE users SET disabled_at = now() WHERE id = ${userId}`)
      return undefined
    },
    'a login': ({ emails }, server) => login(server, emails.present),
    'a refresh': ({ other }, server) =>
      post(server, 'refresh', { refreshToken: other.refreshToken as string }),
  } satisfies Record<string, Act>
  type Name = keyof typeof acts

  const names = Object.keys(acts) as Name[]
  const pairs = names.flatMap((one, i) => names.slice(i + 1).map((two) => [one, two] as const))

  const sessionOf = ({ accessToken }: Answer): string =>
    JSON.parse(Buffer.from(accessToken.split('.')[1] ?? '', 'base64url').toString()).sid

  /** What both have left behind, as one of the two orders would leave it. */
  async function expectOneOrder(account: Account, answers: Partial<Record<Name, Answer | undefined>>) {
    const { userId, emails, asking, other } = account
    const done = (name: Name) => (name in answers ? (answers[name]?.status ?? 204) < 300 : false)

    // The undo is of an earlier change, so nothing but disabling prevents it.
    if (answers['an undo'] && !done('a disabling')) expect(answers['an undo'].status).toBe(204)
    if (answers['a reset'] && answers['a change of address'])
      expect(done('a reset')).not.toBe(done('a change of address'))
    if (answers['a reset'] && answers['a password change'])
      expect(done('a reset')).not.toBe(done('a password change'))
    for (const answer of Object.values(answers))
      if (answer) expect([200, 204, 401, 410]).toContain(answer.status)

    const [row] = await rows<{ email: string }>(sql`SELECT email FROM users WHERE id = ${userId}`)
    const changed = done('a change of address') ? emails.next : emails.present
    expect(row?.email).toBe(done('an undo') ? emails.former : changed)

    const live = await rows<{ id: string }>(
      sql`SELECT id FROM sessions WHERE user_id = ${userId} AND ended_at IS NULL`,
    )
    const endedWithAsking = await rows<{ id: string }>(
      sql`SELECT s.id FROM sessions s JOIN sessions asking ON asking.id = ${sessionOf(asking)}
        WHERE s.user_id = ${userId} AND s.ended_at = asking.ended_at AND s.end_reason = asking.end_reason`,
    )
    expect(live.map(({ id }) => id).sort()).toEqual(liveSessions().sort())

    const links = await rows<{ purpose: string }>(
      sql`SELECT purpose FROM links WHERE user_id = ${userId} AND ended_at IS NULL ORDER BY purpose`,
    )
    expect(links.map(({ purpose }) => purpose)).toEqual(liveLinks())

    await rows(sql`UPDATE users SET disabled_at = NULL WHERE id = ${userId}`)
    const working = []
    for (const [name, password] of Object.entries(passwords))
      if ((await login(0, String(row?.email), password)).status === 200) working.push(name)
    expect(working).toEqual(workingPasswords())

    function liveSessions(): string[] {
      if (done('an undo') || done('a disabling') || done('a reset')) return []
      const loggedIn = answers['a login']?.status === 200 ? [sessionOf(answers['a login'])] : []
      // A login may begin after the logout. Otherwise the logout ended it with the others.
      if (done('logout-all'))
        return loggedIn.filter((id) => !endedWithAsking.some((ended) => ended.id === id))
      if (done('a password change')) return [sessionOf(answers['a password change'] as Answer)]
      if (done('a change of address')) return [sessionOf(asking)]
      return [sessionOf(asking), sessionOf(other), ...loggedIn]
    }

    function liveLinks(): string[] {
      const endsLinks: Name[] = [
        'a change of address',
        'a reset',
        'a password change',
        'logout-all',
        'a disabling',
      ]
      // The reset of the undo dies with what comes after it.
      if (done('an undo')) return links.length > 0 || !endsLinks.some(done) ? ['reset'] : []
      if (done('a change of address')) return ['undo', 'undo']
      // The registration has made a link that verifies the address.
      return endsLinks.some(done) ? ['undo'] : ['email', 'reset', 'undo', 'verify']
    }

    function workingPasswords(): string[] {
      if (done('an undo')) return []
      if (done('a reset')) return ['reset']
      return [done('a password change') ? 'changed' : 'old']
    }
  }

  test.each(pairs)('%s races %s, and no outcome mixes the two [account 12]', async (one, two) => {
    for (let round = 0; round < rounds; round++) {
      const account = await newAccount()
      const starts = [
        async () => [one, await acts[one](account, round % 2)] as const,
        async () => [two, await acts[two](account, (round + 1) % 2)] as const,
      ]

      // The request that starts first is more likely to win, so both take turns.
      const order = round % 4 < 2 ? starts : starts.toReversed()
      const answers = Object.fromEntries(await Promise.all(order.map((start) => start())))

      await expectOneOrder(account, answers)
    }
  })
})
