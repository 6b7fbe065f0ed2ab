import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { calculateJwkThumbprint, exportJWK } from 'jose'
import { newPrivateKey, newSecret } from '../../src/secrets/generate.ts'
import { toKey } from '../../src/secrets/key.ts'
import { privateKeyProblem } from '../../src/secrets/policy.ts'

describe.each(['RS256', 'ES256'] as const)('a private key for %s', (algorithm) => {
  const pem = newPrivateKey(algorithm)
  const key = toKey(pem, algorithm)

  test('is named by the thumbprint of RFC 7638', async () => {
    expect(key.kid).toBe(await calculateJwkThumbprint(await exportJWK(key.verifies)))
  })

  test('E6 gives others its public half and nothing else', () => {
    const { kid, kty, alg, use, ...members } = key.publicKey ?? {}

    expect({ kid, kty, alg, use }).toEqual({
      kid: key.kid,
      kty: algorithm === 'RS256' ? 'RSA' : 'EC',
      alg: algorithm,
      use: 'sig',
    })
    expect(Object.keys(members).sort()).toEqual(algorithm === 'RS256' ? ['e', 'n'] : ['crv', 'x', 'y'])
    expect([key.signs.type, key.verifies.type]).toEqual(['private', 'public'])
  })

  test('may be on one line, as variables often are', () => {
    expect(toKey(pem.replaceAll('\n', '\\n'), algorithm).kid).toBe(key.kid)
    expect(privateKeyProblem(pem.replaceAll('\n', '\\n'), algorithm)).toBeUndefined()
  })

  test('E1 will do as it was generated', () => {
    expect(privateKeyProblem(pem, algorithm)).toBeUndefined()
  })
})

describe('E1 a private key is refused', () => {
  const pem = (options: object) => ({ type: 'pkcs8', format: 'pem', ...options }) as const
  const rsa = (bits: number) => generateKeyPairSync('rsa', { modulusLength: bits }).privateKey
  const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey
  const es256 = newPrivateKey('ES256')
  const notPem = /^is no private key in PEM/

  test.each<[what: string, algorithm: 'RS256' | 'ES256', text: string, message: RegExp]>([
    [
      'RSA of 1024 bits',
      'RS256',
      rsa(1024).export(pem({})).toString(),
      /^is no RSA key of 2048 bits or more/,
    ],
    [
      'RSA of 2047 bits',
      'RS256',
      rsa(2047).export(pem({})).toString(),
      /^is no RSA key of 2048 bits or more/,
    ],
    ['P-384', 'ES256', ec('P-384').export(pem({})).toString(), /^is no EC key on the curve P-256/],
    ['secp256k1', 'ES256', ec('secp256k1').export(pem({})).toString(), /^is no EC key on the curve P-256/],
    ['EC for RS256', 'RS256', es256, /^is no RSA key/],
    ['RSA for ES256', 'ES256', newPrivateKey('RS256'), /^is no EC key/],
    [
      'Ed25519',
      'ES256',
      generateKeyPairSync('ed25519').privateKey.export(pem({})).toString(),
      /^is no EC key/,
    ],
    [
      'RSA-PSS',
      'RS256',
      generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey.export(pem({})).toString(),
      /^is no RSA key/,
    ],
    [
      'with a passphrase',
      'RS256',
      rsa(2048)
        .export(pem({ cipher: 'aes-256-cbc', passphrase: 'x' }))
        .toString(),
      notPem,
    ],
    ['in PKCS 1', 'RS256', rsa(2048).export({ type: 'pkcs1', format: 'pem' }).toString(), notPem],
    [
      'a public key',
      'ES256',
      toKey(es256, 'ES256').verifies.export({ type: 'spki', format: 'pem' }).toString(),
      notPem,
    ],
    ['a JWK', 'ES256', JSON.stringify(toKey(es256, 'ES256').signs.export({ format: 'jwk' })), notPem],
    ['cut off', 'ES256', es256.slice(0, 100), notPem],
    ['a shared secret', 'ES256', newSecret(), notPem],
    ['empty', 'ES256', '', notPem],
  ])('that is %s, with how to make a good one', (_what, algorithm, text, message) => {
    const problem = privateKeyProblem(text, algorithm)

    expect(problem).toMatch(message)
    expect(problem).toContain(`npm run secrets -- generate --algorithm ${algorithm}`)
  })
})
