import { describe, expect, test } from '@jest/globals'
import { createLogin, type News } from '../../src/client/login.ts'
import { createHandClock } from './hand-clock.ts'

const userOf = (id: string) => ({
  id,
  email: `${id}@example.com`,
  role: 'user',
  emailVerified: true,
  createdAt: '',
})
const grantOf = (id: string) => ({
  accessToken: `token of ${id}`,
  user: userOf(id),
  asked: { wall: 0, running: 0 },
  lifetime: 900_000,
})
const loginOf = (id: string, at: number): News => ({ at, reason: 'login', grant: grantOf(id) })
const logoutAt = (at: number): News => ({ at, reason: 'logout' })

function createTab() {
  const clock = createHandClock()
  const told: News[] = []
  const reasons: string[] = []
  const login = createLogin({
    clock,
    tell: (news) => void told.push(news),
    onChange: (reason) => void reasons.push(reason),
  })
  return { clock, login, told, reasons }
}

/** Returns every order of the items. */
const ordersOf = <T>(items: T[]): T[][] =>
  items.length < 2
    ? [items]
    : items.flatMap((first) =>
        ordersOf(items.filter((item) => item !== first)).map((rest) => [first, ...rest]),
      )

describe('what a tab knows', () => {
  test('is nothing at first', () => {
    const { login } = createTab()

    expect([login.state().kind, login.user()]).toEqual(['unknown', undefined])
  })

  test('is the newest news, in whatever order they come', () => {
    const news = [loginOf('ada', 1), logoutAt(2), loginOf('bob', 3), loginOf('bob', 4)]

    for (const order of ordersOf(news)) {
      const { login } = createTab()
      for (const one of order) login.hear(one)
      expect(login.state()).toMatchObject({ kind: 'in', asOf: 4, grant: { user: { id: 'bob' } } })
    }
  })

  test('stays logged out when the answer to an earlier request comes', () => {
    const { login } = createTab()
    login.settle(loginOf('ada', 10))
    const asked = login.stamp()
    login.settle(logoutAt(login.stamp() + 5))

    login.settle(loginOf('ada', asked))

    expect(login.state().kind).toBe('out')
  })

  test('is logged out if a login and a logout have the same time', () => {
    for (const order of ordersOf([loginOf('ada', 5), logoutAt(5)])) {
      const { login } = createTab()
      for (const one of order) login.hear(one)
      expect(login.state().kind).toBe('out')
    }
  })

  test('changes for the page if the server describes the same user differently, and keeps the requests of that user', () => {
    const { login, reasons } = createTab()
    const verified = { ...userOf('ada'), email: 'new@example.com' }
    login.settle(loginOf('ada', 1))
    const epoch = login.epoch()

    login.settle({ at: 2, reason: 'elsewhere', grant: { ...grantOf('ada'), user: verified } })
    login.hear({ at: 3, reason: 'elsewhere', grant: { ...grantOf('ada'), user: { ...verified } } })
    login.hear({ at: 4, reason: 'elsewhere', grant: { ...grantOf('ada'), user: userOf('ada') } })

    expect(reasons).toEqual(['login', 'updated', 'updated'])
    expect(login.epoch()).toBe(epoch)
  })

  test('changes for the page only if the user changes, or is known for the first time', () => {
    const { login, reasons } = createTab()

    login.settle({ at: 1, reason: 'refresh_token_missing' })
    login.settle({ at: 2, reason: 'refresh_token_missing' })
    login.settle(loginOf('ada', 3))
    login.hear(loginOf('ada', 4))
    login.hear(loginOf('bob', 5))
    login.hear(logoutAt(6))

    expect(reasons).toEqual(['refresh_token_missing', 'login', 'elsewhere', 'logout'])
    expect(login.epoch()).toBe(4)
  })

  test('is told to other tabs if it is newer, and what they have told is not', () => {
    const { login, told } = createTab()

    login.settle(loginOf('ada', 5))
    login.settle(loginOf('ada', 4))
    login.hear(logoutAt(6))

    expect(told.map(({ at }) => at)).toEqual([5])
  })

  test('follows news again after the clock was set back by an hour', () => {
    const { clock, login } = createTab()
    login.settle(loginOf('ada', login.stamp()))
    clock.set(clock.now().wall - 3_600_000)

    login.hear(logoutAt(clock.now().wall))

    expect(login.state().kind).toBe('out')
  })

  test('gives every request a later time, even within a millisecond', () => {
    const { login } = createTab()
    login.settle(loginOf('ada', login.stamp()))

    expect(login.stamp()).toBe(login.asOf() + 1)
  })
})
