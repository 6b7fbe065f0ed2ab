// The whole client with made-up clocks, locks and channels. Real ones are in test/proof/browser.
import { describe, expect, test } from '@jest/globals'
import type { Change } from '../../src/client/api.ts'
import { createClient } from '../../src/client/client.ts'
import { createHandClock } from './hand-clock.ts'

const user = { id: '1', email: 'ada@example.com', role: 'user', emailVerified: true, createdAt: '' }

type Answer = { status: number; body?: object; headers?: Record<string, string>; ms?: number }
const granted: Answer = { status: 200, body: { accessToken: 'token', expiresIn: 900, user } }
const refused = (status: number, code: string, headers = {}): Answer => ({ status, body: { code }, headers })

/** A page whose server gives these answers, after `ms` milliseconds. The last answer repeats. */
function openPage(...answers: Answer[]) {
  const clock = createHandClock()
  const asked: { path: string; at: number; authorization: string | null }[] = []
  const reported: unknown[] = []
  let wake = (_wasFrozen: boolean) => {}
  const client = createClient('https://auth.example', ['https://auth.example'], {
    clock,
    random: () => 0,
    async send(input, init) {
      const authorization = new Headers(init?.headers).get('Authorization')
      asked.push({ path: new URL(String(input)).pathname, at: clock.now().running, authorization })
      const answer = (answers.length > 1 ? answers.shift() : answers[0]) as Answer
      const { status, body, headers = {}, ms = 0 } = answer
      if (ms) await new Promise<void>((resolve) => clock.after(ms, resolve))
      return new Response(body && JSON.stringify(body), {
        status,
        headers: { 'Content-Type': 'application/json', ...headers },
      })
    },
    locks: undefined,
    openChannel: () => undefined,
    onWake(work) {
      wake = work
      return () => {
        wake = () => {}
      }
    },
    reportError: (error) => void reported.push(error),
  })
  return { client, clock, asked, reported, wake: (wasFrozen: boolean) => wake(wasFrozen) }
}

const secondsOf = (asked: { at: number }[]) => asked.map(({ at }) => Math.round(at / 100) / 10)

describe('after a refresh without a clear answer', () => {
  test('it tries again after pauses that double, up to 15 seconds', async () => {
    const { client, clock, asked } = openPage(refused(503, 'unavailable'))

    await expect(client.refresh()).rejects.toMatchObject({ code: 'unavailable', status: 503 })
    await clock.pass(62_000)

    expect(secondsOf(asked)).toEqual([0, 0.5, 1.5, 3.5, 7.5, 15.5, 30.5, 45.5, 60.5])
  })

  test('it waits as long as the server asks, one minute at most', async () => {
    const { client, clock, asked } = openPage(
      refused(503, 'unavailable', { 'Retry-After': '20' }),
      refused(503, 'unavailable', { 'Retry-After': '3600' }),
      granted,
    )

    await expect(client.refresh()).rejects.toThrow()
    await clock.pass(100_000)

    expect(secondsOf(asked)).toEqual([0, 20, 80])
    expect(client.user()).toEqual(user)
  })

  test('it begins with short pauses again once an answer has come', async () => {
    const busy = refused(503, 'unavailable')
    const { client, clock, asked } = openPage(busy, busy, granted, busy, busy, granted)

    await expect(client.refresh()).rejects.toThrow()
    await clock.pass(10_000)
    await expect(client.refresh()).rejects.toThrow()
    await clock.pass(10_000)

    expect(secondsOf(asked)).toEqual([0, 0.5, 1.5, 10, 10.5, 11.5])
  })

  test('requests fail at once in the pause, and make no refresh of their own', async () => {
    const { client, asked } = openPage(refused(503, 'unavailable'))
    await expect(client.refresh()).rejects.toThrow()

    await expect(client.fetch('/users/me')).rejects.toMatchObject({ code: 'unavailable' })

    expect(asked.length).toBe(1)
  })

  test('it stops after close', async () => {
    const { client, clock, asked } = openPage(refused(503, 'unavailable'))
    await expect(client.refresh()).rejects.toThrow()

    client.close()
    await clock.pass(60_000)

    expect(asked.length).toBe(1)
  })

  test('it does not try again if the page has closed the client in the meantime', async () => {
    const { client, clock, asked } = openPage({ ...refused(503, 'unavailable'), ms: 1_000 })
    const failed = expect(client.refresh()).rejects.toThrow()
    await clock.pass(500)

    client.close()
    await clock.pass(60_000)

    await failed
    expect(asked.length).toBe(1)
  })

  test('it stops if the login has ended', async () => {
    const { client, clock, asked } = openPage(refused(503, 'unavailable'), refused(401, 'session_ended'))
    await expect(client.refresh()).rejects.toThrow()

    await clock.pass(60_000)

    expect(asked.length).toBe(2)
    expect(client.user()).toBeUndefined()
  })
})

describe('a token', () => {
  test('is renewed by the first request in its last 30 seconds, and by no timer', async () => {
    const { client, clock, asked } = openPage(granted)
    await client.refresh()

    await clock.pass(869_000)
    await client.fetch('/users/me')
    await clock.pass(2_000)
    await client.fetch('/users/me')
    await clock.pass(3_600_000)

    expect(asked.map(({ path }) => path)).toEqual([
      '/auth/refresh',
      '/users/me',
      '/auth/refresh',
      '/users/me',
    ])
  })

  test('is renewed when the page wakes, if it is due or the page was frozen', async () => {
    const { client, clock, asked, wake } = openPage(granted)
    await client.refresh()

    wake(false)
    await clock.pass(1)
    expect(asked.length).toBe(1)
    wake(true)
    await clock.pass(1)
    expect(asked.length).toBe(2)
    await clock.pass(900_000)
    wake(false)
    await clock.pass(1)
    expect(asked.length).toBe(3)
  })
})

describe('a refusal because the proof of identity is too old', () => {
  const stale = refused(401, 'reauthentication_required')

  test('reaches the page, and causes no refresh, because a new token does not help [account 21]', async () => {
    const { client, asked } = openPage(granted, stale)
    await client.refresh()

    const answer = await client.fetch('/sensitive')

    expect(answer.status).toBe(401)
    expect(await answer.json()).toEqual({ code: 'reauthentication_required' })
    expect(asked.map(({ path }) => path)).toEqual(['/auth/refresh', '/sensitive'])
    expect(client.user()).toEqual(user)
  })

  test('is fixed by reauthenticate, whose token is used from then on [account 22]', async () => {
    const renewed: Answer = { status: 200, body: { ...granted.body, accessToken: 'renewed' } }
    const { client, clock, asked } = openPage(granted, stale, renewed, { status: 204 })
    const heard: Change[] = []
    client.onChange((change) => void heard.push(change))
    await client.refresh()
    await client.fetch('/sensitive')
    await clock.pass(1)

    expect(await client.reauthenticate('my dog is called rex')).toEqual(user)
    await client.fetch('/sensitive')

    expect(asked.slice(1).map(({ path, authorization }) => [path, authorization])).toEqual([
      ['/sensitive', 'Bearer token'],
      ['/auth/reauthenticate', 'Bearer token'],
      ['/sensitive', 'Bearer renewed'],
    ])
    expect(heard).toEqual([{ user, reason: 'restored' }])
  })

  test('stays if the password is wrong, and so does the login [account 22]', async () => {
    const { client } = openPage(granted, refused(403, 'wrong_password'))
    await client.refresh()

    await expect(client.reauthenticate('wrong')).rejects.toMatchObject({ code: 'wrong_password' })

    expect(client.user()).toEqual(user)
  })
})

test('a login that a logout overtakes fails, and its session ends', async () => {
  const { client, clock, asked } = openPage({ ...granted, ms: 1_000 }, { status: 204 })
  const login = client.login('ada@example.com', 'my dog is called rex')
  const failed = expect(login).rejects.toMatchObject({ code: 'overtaken' })
  await clock.pass(500)

  await client.logout()
  await clock.pass(1_000)

  await failed
  expect(client.user()).toBeUndefined()
  expect(asked.map(({ path }) => path)).toEqual(['/auth/login', '/auth/logout', '/auth/logout'])
})

describe('listeners', () => {
  test('hear who is logged in now, even if a listener before them has logged out', async () => {
    const { client } = openPage(granted, { status: 204 })
    const heard: [string | undefined, string][] = []
    client.onChange(({ reason }) => reason === 'login' && void client.logout())
    client.onChange(({ user, reason }) => heard.push([user?.id, reason]))

    await client.login('ada@example.com', 'my dog is called rex')

    expect(heard).toEqual([
      [undefined, 'logout'],
      [undefined, 'login'],
    ])
  })

  test('are all called if one throws, and its error is reported', async () => {
    const { client, reported } = openPage(granted)
    const heard: Change[] = []
    const error = new Error('of the page')
    client.onChange(() => {
      throw error
    })
    const stop = client.onChange((change) => void heard.push(change))

    await client.refresh()
    stop()
    await client.login('ada@example.com', 'my dog is called rex')

    expect(heard).toEqual([{ user, reason: 'restored' }])
    expect(reported).toEqual([error])
  })
})
