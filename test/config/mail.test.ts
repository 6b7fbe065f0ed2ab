import { describe, expect, test } from '@jest/globals'
import { loadConfig } from '../../src/config/config.ts'
import { parseSmtpUrl } from '../../src/config/mail.ts'
import { base, faultsOf, file, problemsOf } from './loading.ts'

const withMail = { ...base, SMTP_URL: 'smtps://user:pass@smtp.example.com', MAIL_FROM: 'auth@example.com' }
const mailOf = async (env: Record<string, string | undefined>) => (await loadConfig(env)).mail

describe('SMTP_URL', () => {
  const login = { user: 'user', password: 'pass' }

  test.each([
    ['smtps://user:pass@smtp.example.com', { host: 'smtp.example.com', port: 465, tls: 'implicit', login }],
    [
      'smtps://user:pass@smtp.example.com:2465/',
      { host: 'smtp.example.com', port: 2465, tls: 'implicit', login },
    ],
    ['smtp://user:pass@SMTP.example.com', { host: 'smtp.example.com', port: 587, tls: 'starttls', login }],
    ['smtp://10.0.0.1:25', { host: '10.0.0.1', port: 25, tls: 'starttls', login: undefined }],
    [
      'smtp://localhost.example.com',
      { host: 'localhost.example.com', port: 587, tls: 'starttls', login: undefined },
    ],
    ['smtp://localhost:1025', { host: 'localhost', port: 1025, tls: 'none', login: undefined }],
    ['smtp://127.8.0.1:1025', { host: '127.8.0.1', port: 1025, tls: 'none', login: undefined }],
    ['smtp://[::1]:1025', { host: '::1', port: 1025, tls: 'none', login: undefined }],
    ['smtps://localhost', { host: 'localhost', port: 465, tls: 'implicit', login: undefined }],
    [
      'smtps://us%40er:p%3A%2F%40ss@smtp.example.com',
      { host: 'smtp.example.com', port: 465, tls: 'implicit', login: { user: 'us@er', password: 'p:/@ss' } },
    ],
  ])('%s names a server, and TLS is off on this machine only', (url, server) => {
    expect(parseSmtpUrl(url)).toEqual(server)
  })

  test.each([
    ['smtp.example.com', 'must be a URL'],
    ['https://smtp.example.com', 'must begin with smtps:// or smtp://'],
    ['smtp://', 'must name a host'],
    ['smtp://user:secret-a/b@smtp.example.com', 'must'],
    ['smtp://smtp.example.com?ignoreTLS=true', 'must end after the port'],
    ['smtp://smtp.example.com/?secure=false', 'must end after the port'],
    ['smtps://smtp.example.com#tls', 'must end after the port'],
    ['smtps://user@smtp.example.com', 'must have both a user and a password'],
    ['smtps://user:%zz-secret-b@smtp.example.com', 'has a % in its user or password'],
    ['smtp://127.0.0.1.example_.com', 'must name a host'],
    ['smtp://smtp.example.com:0', 'must have a port'],
  ])('%s is refused in production with the way out', async (SMTP_URL, message) => {
    const [problem, ...more] = await problemsOf({ ...withMail, SMTP_URL })

    expect(problem).toMatch(new RegExp(`^SMTP_URL: ${message.replace(/[?]/g, '\\$&')}`))
    expect(problem).not.toMatch(/secret-/)
    expect(more).toEqual([])
  })

  test('comes from a file, which is read again', async () => {
    const path = file('smtp', 'smtps://a:b@one.example.com\n')
    const { SMTP_URL: _, ...others } = withMail
    const { smtp } = await mailOf({ ...others, SMTP_URL_FILE: path })
    file('smtp', 'smtps://a:b@two.example.com\n')

    expect(await smtp?.()).toMatchObject({ host: 'two.example.com' })
    file('smtp', 'nonsense')
    await expect(smtp?.()).rejects.toThrow(/^SMTP_URL: must be a URL/)
  })

  test('is not in the settings that a log or a debugger prints', async () => {
    expect(JSON.stringify(await mailOf(withMail))).not.toMatch(/pass/)
  })

  test('a file that is missing is a problem of SMTP_URL', async () => {
    const { SMTP_URL: _, ...others } = withMail

    expect(await faultsOf({ ...others, SMTP_URL_FILE: '/nowhere/smtp' })).toEqual(['SMTP_URL'])
  })
})

describe('MAIL_FROM', () => {
  test.each([
    ['auth@example.com', { name: undefined, address: 'auth@example.com' }],
    ['Example <auth@example.com>', { name: 'Example', address: 'auth@example.com' }],
    ['"Example, Inc." <auth@example.com>', { name: 'Example, Inc.', address: 'auth@example.com' }],
    ['Beispiel für alle <auth@example.com>', { name: 'Beispiel für alle', address: 'auth@example.com' }],
    ['<auth@example.com>', { name: undefined, address: 'auth@example.com' }],
  ])('%s is a sender', async (MAIL_FROM, from) => {
    expect((await mailOf({ ...withMail, MAIL_FROM })).from).toEqual(from)
  })

  test.each([
    'Example',
    'auth@',
    'a@example.com, b@example.com',
    'A <a@example.com>, B <b@example.com>',
    'auth@exämple.com',
    'Example <auth@example.com',
    'Example <auth@example.com> more',
    'Example\r\nBcc: b@example.com <auth@example.com>',
    `${'a'.repeat(250)}@example.com`,
  ])('%j is refused with the way out', async (MAIL_FROM) => {
    expect(await problemsOf({ ...withMail, MAIL_FROM })).toEqual([
      'MAIL_FROM: must be one e-mail address in ASCII, alone or as Name <auth@example.com>',
    ])
  })

  test('is required with SMTP_URL, in every environment', async () => {
    expect(await faultsOf({ ...withMail, MAIL_FROM: '' })).toEqual(['MAIL_FROM'])
    expect(await faultsOf({ ...withMail, MAIL_FROM: '', NODE_ENV: 'test' })).toEqual(['MAIL_FROM'])
    expect(await faultsOf(base)).toEqual([])
  })
})

describe('ACCOUNT_URL', () => {
  test.each([
    'https://auth.example.com/account',
    'https://auth.example.com/me/',
    'https://app.example.com/account',
    'https://app.example.com',
  ])('%s is a page of PUBLIC_URL or of CORS_ORIGINS', async (ACCOUNT_URL) => {
    const mail = await mailOf({ ...base, CORS_ORIGINS: 'https://app.example.com', ACCOUNT_URL })

    expect(mail.accountUrl).toBe(ACCOUNT_URL)
  })

  test.each([
    'https://evil.example/account',
    'http://auth.example.com/account',
    'https://auth.example.com:8443/account',
    'https://auth.example.com/account?a=1',
    'https://auth.example.com/account?',
    'https://auth.example.com/account#a',
    'https://user@auth.example.com/account',
    'javascript:alert(1)',
    '/account',
  ])('%s is refused with the way out', async (ACCOUNT_URL) => {
    expect(await problemsOf({ ...base, ACCOUNT_URL })).toEqual([
      expect.stringMatching(/^ACCOUNT_URL: must be (a page of PUBLIC_URL|the URL of a page)/),
    ])
  })

  test('may be on the port of a development server without PUBLIC_URL', async () => {
    const development = { ...base, PUBLIC_URL: '', NODE_ENV: 'development', PORT: '4000' }

    expect(await faultsOf({ ...development, ACCOUNT_URL: 'http://localhost:4000/me' })).toEqual([])
    expect(await faultsOf({ ...development, ACCOUNT_URL: 'http://localhost:5173/me' })).toEqual([
      'ACCOUNT_URL',
    ])
  })
})

test.each([
  ['production', undefined, false],
  ['production', withMail.SMTP_URL, true],
  ['development', undefined, true],
  ['test', undefined, true],
])('in %s with SMTP_URL=%s, there is mail: %s', async (NODE_ENV, SMTP_URL, on) => {
  expect((await mailOf({ ...withMail, NODE_ENV, SMTP_URL })).on).toBe(on)
})
