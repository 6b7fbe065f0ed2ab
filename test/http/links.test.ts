import { createHmac, randomBytes } from 'node:crypto'
import { expect, test } from '@jest/globals'
import { eq, sql } from 'drizzle-orm'
import jwt from 'jsonwebtoken'
import type request from 'supertest'
import type { Route } from '../../src/http/route.ts'
import type { Link } from '../../src/store/links.ts'
import { grantRights } from '../../src/store/migrate.ts'
import { type LinkPurpose, links } from '../../src/store/schema.ts'
import {
  type Client,
  createTestApp,
  disable,
  expectProblem,
  refreshSecret,
  register,
  send,
  useTestApp,
  withoutNoise,
} from '../support/app.ts'
import { countStatements, databaseName } from '../support/database.ts'
import { newLink, tokenOf } from '../support/links.ts'
import { linkTokenFor, nameOf, purposeOf, routes, sendGood } from '../support/routes.ts'

// What holds for every route that takes the token of a link, of whatever feature.
const tokenRoutes = routes.filter(({ example }) => example && 'token' in example)
const t = useTestApp()

const use = (route: Route, token: string, as?: Client) =>
  send(t.app, nameOf(route), { as, body: { ...route.example, token } })

/** The routes with a token, in every way in which they take one. */
const ways = tokenRoutes.flatMap((route) => [
  { name: `${nameOf(route)}, without an access token,`, route, bySession: false },
  ...(route.optional === 'accessToken'
    ? [{ name: `${nameOf(route)}, with an access token,`, route, bySession: true }]
    : []),
])

/** Returns the texts that no route may accept as the token of a link of this purpose. */
async function badTokens(route: Route, client: Client): Promise<Record<string, string>> {
  const purpose = purposeOf(route)
  const good = (await linkTokenFor(t, route, client)) ?? ''
  const [header = '', payload = '', signature = ''] = good.split('.')
  const other = purpose === 'reset' ? 'verify' : 'reset'
  const claims = jwt.decode(good) as jwt.JwtPayload
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const headerOf = (token: string) =>
    JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString())
  const signed = `${encode(headerOf(good))}.${encode({ ...claims, jti: crypto.randomUUID() })}`
  return {
    'one character': 'x',
    'white space': ' ',
    'text that looks like JWT': 'a.b.c',
    'half of a surrogate pair': '\ud800',
    '7 KiB of text': 'x'.repeat(7168),
    'the token of a link for something else': await newLink(t, other, client),
    'an access token': client.accessToken,
    'a refresh token': client.refreshToken,
    'a token with another signature': `${header}.${payload}.${signature.replace(/^./, (c) => (c === 'A' ? 'B' : 'A'))}`,
    'a token signed with the refresh secret itself': `${signed}.${createHmac('sha256', refreshSecret).update(signed).digest('base64url')}`,
    'a token without a signature': `${encode({ ...headerOf(good), alg: 'none' })}.${payload}.`,
    'a token of an unknown key': `${encode({ ...headerOf(good), kid: 'unknown' })}.${payload}.${signature}`,
    'the id of a link': String(claims.jti),
    'a token with a space at its end': `${good} `,
    'the token of a live link that its account may not use': await tokenOfBarred(purpose, client),
    'the token of a link that does not exist': await tokenOfDeleted(good),
    'the token of a link that was used': await tokenOfEnded(await newLink(t, purpose, client)),
    'the token of a link that has expired': await tokenOfExpired(await newLink(t, purpose, client)),
  }
}

async function change(token: string, what: ReturnType<typeof sql>): Promise<string> {
  await t.db.rows(sql`${what} WHERE id = ${(jwt.decode(token) as jwt.JwtPayload).jti}`)
  return token
}
/** Returns the token of a live link of a disabled account, or of one that would create an account that exists. */
async function tokenOfBarred(purpose: LinkPurpose, taken: Client): Promise<string> {
  if (purpose === 'register') return newLink(t, purpose, taken)
  const disabled = await register(t.app)
  await disable(t, disabled)
  return newLink(t, purpose, disabled)
}

const tokenOfDeleted = (token: string) => change(token, sql`DELETE FROM links`)
const tokenOfEnded = (token: string) => change(token, sql`UPDATE links SET ended_at = now()`)
const tokenOfExpired = (token: string) => change(token, sql`UPDATE links SET expires_at = now()`)

for (const { name, route, bySession } of ways)
  test(`${name} refuses everything else alike, by 410, and after the same statements [account Links]`, async () => {
    const client = await register(t.app)
    const tokens = await badTokens(route, client)
    await t.mails() // The worker's statements would be counted too.
    const refusals = []
    for (const [what, token] of Object.entries(tokens)) {
      let answer: request.Response | undefined
      const statements = await countStatements(t.db, async () => {
        answer = await use(route, token, bySession ? client : undefined)
      })
      refusals.push({ what, statements, answer: answer && withoutNoise(answer) })
    }

    for (const { what, statements, answer } of refusals)
      expect({ what, statements, answer }).toEqual({ ...refusals[0], what })
    expect(refusals[0]?.answer).toMatchObject({ status: 410, body: { code: 'link_invalid' } })
  })

test('every route with a token answers 400 to one that is empty, null, no string, or has NUL in it [account Links]', async () => {
  for (const route of tokenRoutes)
    for (const token of ['', null, 1, true, [], {}, 'a\0b', undefined]) {
      const body = { ...route.example, token }

      expectProblem(await send(t.app, nameOf(route), { body }), 400, 'invalid_request')
    }
})

test('GET and HEAD of a route with a token change nothing [account Links]', async () => {
  const client = await register(t.app)
  for (const route of tokenRoutes) {
    const token = await linkTokenFor(t, route, client)
    const before = await t.db.database.run((queries) => queries.select().from(links))

    for (const method of ['GET', 'HEAD'])
      expect((await send(t.app, `${method} ${route.path}?token=${token}`)).status).toBe(405)

    expect(await t.db.database.run((queries) => queries.select().from(links))).toEqual(before)
  }
})

test('a link outlives a rotation of the refresh secret, and dies when its key is withdrawn [account Links]', async () => {
  const secrets = { JWT_REFRESH_SECRET: randomBytes(48).toString('base64url') }
  for (const route of tokenRoutes) {
    const own = await createTestApp()
    const client = await register(own.app)
    const token = await linkTokenFor(own, route, client)
    const withdrawn = await createTestApp(secrets, own.db)
    const rotated = await createTestApp({ ...secrets, JWT_REFRESH_SECRET_PREVIOUS: refreshSecret }, own.db)

    const refused = await sendGood(withdrawn.app, route, client, token)
    const accepted = await sendGood(rotated.app, route, client, token)
    for (const app of [withdrawn, rotated, own]) await app.close()

    expectProblem(refused, 410, 'link_invalid')
    expect(accepted.ok).toBe(true)
  }
})

test('copies of a mail have the same link, because its token is computed from the row [account Mail]', async () => {
  const client = await register(t.app)
  const token = await newLink(t, 'reset', client)
  const { jti } = jwt.decode(token) as jwt.JwtPayload
  const [link] = await t.db.database.run((queries) =>
    queries
      .select()
      .from(links)
      .where(eq(links.id, String(jti))),
  )

  expect(tokenOf(link as Link)).toBe(token)
  expect(jwt.decode(token, { complete: true })?.header.typ).toBe('reset-link+jwt')
})

// PostgreSQL has a pool, in which only one connection would get the role. There, postgres.test.ts serves as such a role.
const testOnPGlite = databaseName === 'PGlite' ? test : test.skip
testOnPGlite('every route works as the role that serves, which owns no table [account Routes]', async () => {
  const own = await createTestApp()
  const run = (statement: string) => own.db.rows(sql.raw(statement))
  await run('CREATE ROLE serving')
  await own.db.database.transaction((tx) => grantRights(tx, 'serving'))
  await run('GRANT USAGE ON SCHEMA test_clock TO serving')
  await run('GRANT SELECT ON test_clock.skew TO serving')

  const failed: string[] = []
  for (const route of routes) {
    const client = await register(own.app)
    const token = await linkTokenFor(own, route, client)
    await run('SET ROLE serving')
    const { status } = await sendGood(own.app, route, client, token)
    await run('RESET ROLE')
    if (status >= 500) failed.push(`${nameOf(route)} ${status}`)
  }
  await run('DROP OWNED BY serving')
  await run('DROP ROLE serving')
  await own.close()

  expect(failed).toEqual([])
})
