import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import { DatabaseUrlError, isExposed, parseDatabaseUrl } from '../../src/store/database-url.ts'

const folder = mkdtempSync(join(tmpdir(), 'database-url-'))
afterAll(() => rmSync(folder, { recursive: true }))

const at = (name: string) => join(folder, name)
const openssl = (command: string) => execFileSync('openssl', command.split(' '), { stdio: 'pipe' })
openssl(
  `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ca -keyout ${at('ca.key')} -out ${at('ca.pem')}`,
)
openssl(`genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ${at('other.key')}`)
writeFileSync(at('text'), 'no certificate')
writeFileSync(at('empty'), '')

const url = (query: string) => `postgres://auth:canary@db.example.com/auth?${query}`

function problem(query: string): string {
  try {
    parseDatabaseUrl(url(query))
    return ''
  } catch (error) {
    if (error instanceof DatabaseUrlError) return error.message
    throw error
  }
}

test.each([
  ['sslrootcert=system', 'sslrootcert=/path/to/ca.pem'],
  ['sslmode=verify-full&sslrootcert=system', 'sslrootcert=/path/to/ca.pem'],
  ['sslrootcert=/nowhere/ca.pem', 'cannot read the file of sslrootcert= (ENOENT: /nowhere/ca.pem)'],
  [`sslrootcert=${folder}`, 'cannot read the file of sslrootcert= (EISDIR'],
  ['sslmode=verify-full&sslcert=/nowhere/client.pem', 'cannot read the file of sslcert= (ENOENT'],
  ['sslmode=verify-full&sslkey=/nowhere/client.key', 'cannot read the file of sslkey= (ENOENT'],
  [`sslrootcert=${at('text')}`, 'Check sslmode'],
  [`sslrootcert=${at('empty')}`, 'Check sslmode'],
  [`sslcert=${at('text')}&sslkey=${at('ca.key')}`, 'Check sslmode'],
  [`sslcert=${at('ca.pem')}&sslkey=${at('other.key')}`, 'Check sslmode'],
  ['uselibpqcompat=true&sslmode=verify-ca', 'sslrootcert'],
])('refuses %s, and says what to do in one line without the password', (query, way) => {
  const message = problem(query)

  expect(message).toMatch(/^DATABASE_URL: .*\.$/)
  expect(message).toContain(way)
  expect(message).not.toContain('canary')
})

test.each([
  ['', undefined],
  ['sslmode=disable', false],
  ['ssl=true', true],
  ['sslmode=prefer', {}],
  ['sslmode=require', {}],
  ['sslmode=verify-ca', {}],
  ['sslmode=verify-full', {}],
  ['sslmode=no-verify', { rejectUnauthorized: false }],
  ['uselibpqcompat=true&sslmode=require', { rejectUnauthorized: false }],
  [`sslmode=require&sslrootcert=${at('ca.pem')}`, { ca: expect.stringMatching(/^-----BEGIN CERTIFICATE/) }],
])('reads %s', (query, ssl) => {
  const config = parseDatabaseUrl(url(query))

  expect(config).toMatchObject({ host: 'db.example.com', user: 'auth', database: 'auth' })
  if (ssl === undefined) expect(config.ssl).toBeUndefined()
  else expect(config.ssl).toEqual(ssl)
})

test.each([
  ['postgres://db.example.com/auth', true],
  ['postgres://10.0.0.5/auth', true],
  ['postgres://localhost.example.com/auth', true],
  ['postgres://db.example.com/auth?sslmode=disable', true],
  ['postgres://db.example.com/auth?sslmode=no-verify', true],
  ['postgres://[fd00::1]/auth', true],
  ['postgres://db.example.com/auth?sslmode=require', false],
  ['postgres://db.example.com/auth?ssl=true', false],
  ['postgres://localhost/auth', false],
  ['postgres://127.0.0.1:5433/auth?sslmode=disable', false],
  ['postgres://[::1]/auth', false],
  ['postgres:///auth?host=/run/postgresql', false],
])('reports whether others on the network can read the data: %s: %s', (text, exposed) => {
  expect(isExposed(parseDatabaseUrl(text))).toBe(exposed)
})
