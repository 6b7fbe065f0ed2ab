import { describe, expect, test } from '@jest/globals'
import { createAccountClient } from '../../src/client/account.ts'
import { AuthClientError, type User } from '../../src/client/api.ts'

const user: User = {
  id: '1',
  email: 'ada@example.com',
  role: 'user',
  emailVerified: false,
  createdAt: '2026-01-01T00:00:00.000Z',
}
const password = 'my dog is called rex'
const granted = { accessToken: 'a.b.c', tokenType: 'Bearer', expiresIn: 900, user }

/** A client in a page whose requests get one answer. `sent` has each request, and `login` what the core client was asked. */
function openPage(status: number, content?: object, loggedIn = true) {
  const sent: { path: string; body: unknown; as: 'login' | 'nobody'; init: RequestInit | undefined }[] = []
  const login: string[] = []
  const answerTo =
    (as: 'login' | 'nobody'): typeof fetch =>
    async (input, init) => {
      const { origin, pathname } = new URL(String(input))
      expect(origin).toBe('https://auth.example.com')
      sent.push({ path: pathname, body: init?.body && JSON.parse(String(init.body)), as, init })
      return new Response(content && JSON.stringify(content), { status })
    }
  const account = createAccountClient({
    url: 'https://auth.example.com/',
    fetch: answerTo('nobody'),
    auth: {
      fetch: answerTo('login'),
      user: () => (loggedIn ? user : undefined),
      async refresh() {
        login.push('refresh')
        throw new AuthClientError('', 'unreachable')
      },
    },
  })
  return { account, sent, login }
}

type Account = ReturnType<typeof createAccountClient>

describe('requests about an account', () => {
  test.each<[string, (account: Account) => Promise<unknown>, string, 'login' | 'nobody', object | undefined]>(
    [
      [
        'forgot',
        (a) => a.forgot('ada@example.com'),
        '/auth/password/forgot',
        'nobody',
        { email: 'ada@example.com' },
      ],
      [
        'reset',
        (a) => a.reset('t', password),
        '/auth/password/reset',
        'nobody',
        { token: 't', newPassword: password },
      ],
      ['verify', (a) => a.verify('t'), '/auth/email/verify', 'login', { token: 't' }],
      [
        'verify with a password',
        (a) => a.verify('t', password),
        '/auth/email/verify',
        'nobody',
        { token: 't', password },
      ],
      ['resend', (a) => a.resend(), '/auth/email/verification', 'login', undefined],
      [
        'changeEmail',
        (a) => a.changeEmail('new@example.com'),
        '/auth/email',
        'login',
        { email: 'new@example.com' },
      ],
      ['confirmEmail', (a) => a.confirmEmail('t'), '/auth/email/confirm', 'login', { token: 't' }],
      [
        'confirmEmail with a password',
        (a) => a.confirmEmail('t', password),
        '/auth/email/confirm',
        'nobody',
        { token: 't', password },
      ],
      ['undo', (a) => a.undo('t'), '/auth/email/undo', 'nobody', { token: 't' }],
      ['cancelDeletion', (a) => a.cancelDeletion('t'), '/users/me/deletion/cancel', 'nobody', { token: 't' }],
    ],
  )(
    '%s sends what its route takes, with the login of the page only if it needs one',
    async (_name, call, path, as, body) => {
      const { account, sent } = openPage(204)

      expect(await call(account)).toBeUndefined()

      expect(sent).toEqual([{ path, body, as, init: expect.objectContaining({ method: 'POST' }) }])
    },
  )

  test('confirm creates the account, takes over its login, and returns the user even if that fails', async () => {
    const { account, sent, login } = openPage(201, granted, false)

    expect(await account.confirm('t', password)).toEqual(user)

    expect(sent).toMatchObject([
      {
        path: '/auth/register/confirm',
        body: { token: 't', password },
        as: 'nobody',
        init: { credentials: 'include' },
      },
    ])
    expect(login).toEqual(['refresh'])
  })

  test.each<[string, (account: Account) => Promise<unknown>]>([
    ['reset', (a) => a.reset('t', password)],
    ['verify', (a) => a.verify('t')],
    ['confirmEmail', (a) => a.confirmEmail('t', password)],
    ['undo', (a) => a.undo('t')],
  ])('%s asks who is logged in afterwards, if the page has a login', async (_name, call) => {
    const [inside, outside] = [openPage(204), openPage(204, undefined, false)]
    await call(inside.account)
    await call(outside.account)

    expect(inside.login).toEqual(['refresh'])
    expect(outside.login).toEqual([])
  })

  test('a refusal is an AuthClientError with the code of the server, and changes nothing of the login', async () => {
    const { account, login } = openPage(410, { code: 'link_invalid', detail: 'The link has ended.' })

    const refused = await account.reset('t', password).catch((error) => error)

    expect(refused).toBeInstanceOf(AuthClientError)
    expect(refused).toMatchObject({ code: 'link_invalid', status: 410, message: 'The link has ended.' })
    expect(login).toEqual([])
  })
})
