import { createPrivateKey, generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { calculateJwkThumbprint, exportJWK } from 'jose'
import { newPrivateKey, newSecret } from '../../src/secrets/cli/generate.ts'
import { toKey } from '../../src/secrets/key.ts'
import { privateKeyProblem } from '../../src/secrets/policy.ts'
import { publishedKeys } from '../../src/secrets/published-keys.ts'

// Two primes make a whole key.
const rfc7515 = {
  p: '4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc',
  q: 'uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc',
}
const jwtIo = {
  p: '8KNThCO2gsC2I9PQDM_8Cw0O983WCDY-oi-7JPiNAJwv5DYBqEZB1QYdj06YD16XlC_HAZMsMku1na2TN0driwenQQWzoev3g2S7gRDoS_FCJSI3jJ-kjgtaA7Qmzlgk1TxODN-G1H91HW7t0l7VnL27IWyYo2qRRK3jzxqUiPU',
  q: 'x0oQs2reBQGMVZnApD1jeq7n4MvNLcPvt8b_eU9iUv6Y4Mj0Suo_AU8lYZXm8ubbqAlwz2VSVunD2tOplHyMUrtCtObAfVDUAhCndKaA9gApgfb3xw1IKbuQ1u4IF1FJl3VtumfQn__LiH1B3rXhcdyo3_vIttEk48RakUKClU8',
}

const number = (text: string) => BigInt(`0x${Buffer.from(text, 'base64url').toString('hex')}`)
const text = (value: bigint) => {
  const hex = value.toString(16)
  return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex').toString('base64url')
}

/** The inverse of `a` modulo `m`, by the extended Euclidean algorithm. */
function inverse(a: bigint, m: bigint): bigint {
  let [r, nextR, t, nextT] = [m, a % m, 0n, 1n]
  while (nextR > 0n) {
    const quotient = r / nextR
    ;[r, nextR, t, nextT] = [nextR, r - quotient * nextR, nextT, t - quotient * nextT]
  }
  return (t + m) % m
}

function rsaJwk(pText: string, qText: string) {
  const [p, q, e] = [number(pText), number(qText), 65_537n]
  const d = inverse(e, (p - 1n) * (q - 1n))
  const members = { n: p * q, e, d, p, q, dp: d % (p - 1n), dq: d % (q - 1n), qi: inverse(q, p) }
  return {
    kty: 'RSA',
    ...Object.fromEntries(Object.entries(members).map(([name, value]) => [name, text(value)])),
  }
}

describe.each(['RS256', 'ES256'] as const)('a private key for %s', (algorithm) => {
  const pem = newPrivateKey(algorithm)
  const key = toKey(pem, algorithm)

  test('is named by the thumbprint of RFC 7638', async () => {
    expect(key.kid).toBe(await calculateJwkThumbprint(await exportJWK(key.verifies)))
  })

  test('has a public half for others, and nothing else [E6]', () => {
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

  test('may be on one line, like many variables', () => {
    expect(toKey(pem.replaceAll('\n', '\\n'), algorithm).kid).toBe(key.kid)
    expect(privateKeyProblem(pem.replaceAll('\n', '\\n'), algorithm)).toBeUndefined()
  })

  test('is accepted as generated [E1]', () => {
    expect(privateKeyProblem(pem, algorithm)).toBeUndefined()
  })
})

describe('a private key is refused [E1]', () => {
  const pem = (options: object) => ({ type: 'pkcs8', format: 'pem', ...options }) as const
  const rsa = (bits: number) => generateKeyPairSync('rsa', { modulusLength: bits }).privateKey
  const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey
  const es256 = newPrivateKey('ES256')
  const notPem = /^is not a private key in PEM/

  test.each<[what: string, algorithm: 'RS256' | 'ES256', text: string, message: RegExp]>([
    [
      'RSA of 1024 bits',
      'RS256',
      rsa(1024).export(pem({})).toString(),
      /^is not an RSA key of 2048 bits or more/,
    ],
    [
      'RSA of 2047 bits',
      'RS256',
      rsa(2047).export(pem({})).toString(),
      /^is not an RSA key of 2048 bits or more/,
    ],
    ['P-384', 'ES256', ec('P-384').export(pem({})).toString(), /^is not an EC key on the curve P-256/],
    [
      'secp256k1',
      'ES256',
      ec('secp256k1').export(pem({})).toString(),
      /^is not an EC key on the curve P-256/,
    ],
    ['EC for RS256', 'RS256', es256, /^is not an RSA key/],
    ['RSA for ES256', 'ES256', newPrivateKey('RS256'), /^is not an EC key/],
    [
      'Ed25519',
      'ES256',
      generateKeyPairSync('ed25519').privateKey.export(pem({})).toString(),
      /^is not an EC key/,
    ],
    [
      'RSA-PSS',
      'RS256',
      generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey.export(pem({})).toString(),
      /^is not an RSA key/,
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
  ])('if it is %s, with how to make a good one', (_what, algorithm, text, message) => {
    const problem = privateKeyProblem(text, algorithm)

    expect(problem).toMatch(message)
    expect(problem).toContain(`npm run -s secrets -- generate --algorithm ${algorithm}`)
  })
})

describe('a published sample key is refused [E1]', () => {
  // Without PEM, because scanners would report secrets of this repository.
  const p256 = (d: string, x: string, y: string) => ({ kty: 'EC', crv: 'P-256', d, x, y })
  test.each<[where: string, algorithm: 'RS256' | 'ES256', jwk: JsonWebKey]>([
    [
      'RFC 7515, A.3',
      'ES256',
      p256(
        'jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI',
        'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
        'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
      ),
    ],
    [
      'RFC 7517, A.2',
      'ES256',
      p256(
        '870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE',
        'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
        '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
      ),
    ],
    [
      'jwt.io, ES256',
      'ES256',
      p256(
        'evZzL1gdAFr88hb2OF_2NxApJCzGCEDdfSp6VQO30hw',
        'EVs_o5-uQbTjL3chynL4wXgUg2R9q9UU8I5mEovUf84',
        'kGe5DgSIycKp8w9aJmoHhB1sB3QTugfnRWm5nU_TzsY',
      ),
    ],
    ['RFC 7515, A.2', 'RS256', rsaJwk(rfc7515.p, rfc7515.q)],
    ['jwt.io, RS256', 'RS256', rsaJwk(jwtIo.p, jwtIo.q)],
  ])('%s', (_where, algorithm, jwk) => {
    const key = createPrivateKey({ key: jwk, format: 'jwk' })
    const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString()

    expect(privateKeyProblem(pem, algorithm)).toMatch(
      /^is a sample key that is publicly known\. Set one made by/,
    )
    expect(privateKeyProblem(pem.replaceAll('\n', '\\n'), algorithm)).toMatch(/^is a sample key/)
  })

  test('by about a hundred thumbprints, none twice', () => {
    expect(publishedKeys.size).toBe(99)
    expect([...publishedKeys].filter((name) => !/^[\w-]{43}$/.test(name))).toEqual([])
  })
})

test.each([3, 17, 65_535])('RSA with the public exponent %i is refused [E1]', (publicExponent) => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent })
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

  expect(privateKeyProblem(pem, 'RS256')).toMatch(/^has a public exponent under 65537\. /)
})

test.each([
  ['npm wrote its banner in front', (pem: string) => `> server@1.0.0 secrets\n\n${pem}`],
  ['something follows', (pem: string) => `${pem}more`],
  ['a second key follows', (pem: string) => `${pem}${newPrivateKey('ES256')}`],
])('a private key is refused if %s [E1]', (_what, wrap) => {
  expect(privateKeyProblem(wrap(newPrivateKey('ES256')), 'ES256')).toMatch(/^is not a private key in PEM/)
})
