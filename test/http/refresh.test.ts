import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import request from 'supertest'
import {
  clearsCookie,
  cookie,
  createTestApp,
  refresh,
  refreshTokenOf,
  register,
  type TestApp,
} from '../support/app.ts'
import { databaseName } from '../support/database.ts'

let t: TestApp
beforeAll(async () => {
  t = await createTestApp()
})
afterAll(() => t.close())

const sessionRow = async (id: string) => {
  const [row] = await t.db.rows(sql`SELECT * FROM sessions WHERE id = ${id}`)
  return row
}

describe(`the refresh state table on ${databaseName}`, () => {
  test('generation = current: 200, token of generation + 1', async () => {
    const client = await register(t.app)

    const response = await refresh(t.app, client.refreshToken)

    expect(response.status).toBe(200)
    expect(await sessionRow(client.sessionId)).toMatchObject({ generation: 2, ended_at: null })
  })

  test('generation = current - 1 in the grace window: 200, the same successor word for word, row untouched', async () => {
    const client = await register(t.app)
    const first = await refresh(t.app, client.refreshToken)
    const before = await sessionRow(client.sessionId)
    await t.pass(9)

    const second = await refresh(t.app, client.refreshToken)

    expect(second.status).toBe(200)
    expect(refreshTokenOf(second)).toBe(refreshTokenOf(first))
    expect(await sessionRow(client.sessionId)).toEqual(before)
  })

  test('generation = current - 1 after the grace window: 401 refresh_token_reused, session ended', async () => {
    const client = await register(t.app)
    await refresh(t.app, client.refreshToken)
    await t.pass(10)

    const response = await refresh(t.app, client.refreshToken)

    expect(response.status).toBe(401)
    expect(response.body.code).toBe('refresh_token_reused')
    expect(clearsCookie(response)).toBe(true)
    expect(await sessionRow(client.sessionId)).toMatchObject({ end_reason: 'reuse' })
  })

  test('no cookie: 401 refresh_token_missing', async () => {
    const response = await request(t.app).post('/auth/refresh').set('Cookie', cookie(''))

    expect(response.status).toBe(401)
    expect(response.body.code).toBe('refresh_token_missing')
  })
})
