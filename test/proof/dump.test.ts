// A thief who reads the database, such as from a backup, must find nothing there that opens an account.
import { expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import {
  type Client,
  clientOf,
  createTestApp,
  newEmail,
  otherPassword,
  password,
  refresh,
  send,
  type TestApp,
  tryLogin,
} from '../support/app.ts'
import { deviceCookieName } from '../support/environment.ts'
import { linkTokenFor, nameOf, routes } from '../support/routes.ts'

const tokenRoutes = routes.filter(({ example }) => example && 'token' in example)

test('no string in a dump of all tables is good as a token, cookie or password while links are live [account Mail]', async () => {
  const own = await createTestApp()
  const { client, device } = await registerOnDevice(own)
  for (const route of tokenRoutes) await linkTokenFor(own, route, client)
  await send(own.app, 'POST /auth/password/forgot', { body: { email: client.email } })
  const limits = { LIMIT_LOGIN_ACCOUNT: '1/900', LIMIT_LOGIN_ADDRESS: '1000000/900' }
  const limited = await createTestApp(limits, own.db)
  const logInFrom = (cookie: string) =>
    tryLogin(limited.app, client.email, otherPassword).set('Cookie', `${deviceCookieName}=${cookie}`)
  // Now an unknown device gets 429, and a known one 401.
  await tryLogin(limited.app, client.email, otherPassword).expect(401)
  const found = new Set(await stringsIn(own))
  const liveLinks = () => own.db.rows(sql`SELECT id FROM links WHERE ended_at IS NULL`)
  const live = await liveLinks()

  const accepted: string[] = []
  for (const text of found) {
    // Text with other characters cannot be in a header.
    const header = /^[!-~]+$/.test(text) ? text : undefined
    const answers = {
      ...Object.fromEntries(
        tokenRoutes.map((route) => [
          `410 ${nameOf(route)}`,
          send(own.app, nameOf(route), { body: { ...route.example, token: text } }),
        ]),
      ),
      '401 password': tryLogin(own.app, client.email, text),
      ...(header && {
        '401 access token': send(own.app, 'GET /users/me', { as: { accessToken: header } }),
        '401 refresh token': refresh(own.app, header),
        '429 device cookie': logInFrom(header),
      }),
    }
    for (const [expected, answer] of Object.entries(answers)) {
      const { status } = await answer
      if (!expected.startsWith(String(status))) accepted.push(`${expected}, but ${status}: ${text}`)
    }
  }
  const known = await logInFrom(device)
  const stillLive = await liveLinks()
  for (const app of [limited, own]) await app.close()

  expect(found.size).toBeGreaterThan(20)
  expect(accepted).toEqual([])
  expect(stillLive).toEqual(live)
  expect(known.status).toBe(401)
})

/** Registers a user, and returns the device cookie too. */
async function registerOnDevice({ app }: TestApp): Promise<{ client: Client; device: string }> {
  const answer = await send(app, 'POST /auth/register', { body: { email: newEmail(), password } }).expect(201)
  const line = answer.get('Set-Cookie')?.find((each) => each.startsWith(`${deviceCookieName}=`)) ?? ''
  return { client: clientOf(answer), device: line.slice(deviceCookieName.length + 1).split(';')[0] ?? '' }
}

/** Returns all texts in all tables, whole and in the members of JSON. */
async function stringsIn({ db }: TestApp): Promise<string[]> {
  const tables = await db.rows<{ tablename: string }>(
    sql`SELECT tablename FROM pg_tables WHERE schemaname = current_schema()`,
  )
  const rows = await Promise.all(
    tables.map(({ tablename }) => db.rows(sql`SELECT * FROM ${sql.identifier(tablename)}`)),
  )
  const textsOf = (value: unknown): string[] => {
    if (value === null || value === undefined) return []
    if (value instanceof Date) return [value.toISOString()]
    if (typeof value === 'object') return [JSON.stringify(value), ...Object.values(value).flatMap(textsOf)]
    return [String(value)]
  }
  return rows
    .flat()
    .flatMap((row) => Object.values(row).flatMap(textsOf))
    .filter((text) => text !== '')
}
