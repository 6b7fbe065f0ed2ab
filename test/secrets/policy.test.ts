import { createHash, generateKeyPairSync, randomBytes, randomInt, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import { parseDigests, placeholder, secretProblem } from '../../src/secrets/policy.ts'

const lowerCase = 'abcdefghijklmnopqrstuvwxyz'
const printable = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).join('')
const draw = (alphabet: string, length: number) =>
  Array.from({ length }, () => [...alphabet][randomInt([...alphabet].length)]).join('')

const hex = (bytes: number) => randomBytes(bytes).toString('hex')

/** Returns the rule that a text breaks, without how to fix it. */
const rule = (text: string) => secretProblem(text)?.split('. ')[0]

const tooShort = 'has less than 32 bytes of key material'
const regular = 'is made of repeats, sequences or words'
const published = 'is publicly known'
const wrongKind = 'is a PEM, JWK or SSH key, which must never be used as a shared secret'
const edges = 'begins or ends with white space, a BOM, a quote or an invisible character'
const invisible = 'contains an invisible character or unusual white space'
const assignment = 'begins with the name of a setting, like a line of .env'
const lineBreak = 'contains a line break or a control character, like the output of npm run without -s'
const decoded = (rule: string) => `${rule} once decoded`

describe('accepts random secrets [E1]', () => {
  test.each<[what: string, make: () => string]>([
    ['32 bytes in hex', () => randomBytes(32).toString('hex')],
    ['32 bytes in upper-case hex', () => randomBytes(32).toString('hex').toUpperCase()],
    ['32 bytes in base64', () => randomBytes(32).toString('base64')],
    ['32 bytes in base64url', () => randomBytes(32).toString('base64url')],
    ['48 bytes in base64', () => randomBytes(48).toString('base64')],
    ['48 bytes in base64url', () => randomBytes(48).toString('base64url')],
    ['52 characters of base32', () => draw(`${lowerCase.toUpperCase()}234567`, 52)],
    ['43 characters of a-z0-9', () => draw(`${lowerCase}0123456789`, 43)],
    ['43 characters of a-z', () => draw(lowerCase, 43)],
    ['printable characters', () => `!${draw(printable, 39)}!`],
    ['punctuation only', () => `!${draw(printable.replace(/[a-z0-9<>]/gi, ''), 47)}!`],
    ['another script', () => draw('абвгдежзийклмнопрстуфхцчшщъыьэюя', 40)],
  ])('made of %s, 200 of each', (_what, make) => {
    const rules = new Set(Array.from({ length: 200 }, make).map(rule))

    expect([...rules]).toEqual([undefined])
  })
})

describe('refuses less than 32 bytes of key material [E1]', () => {
  test.each<[what: string, short: () => string, enough: () => string]>([
    ['hex', () => hex(31), () => hex(32)],
    ['hex, half a byte', () => hex(32).slice(1), () => hex(32)],
    ['base64', () => randomBytes(31).toString('base64'), () => randomBytes(32).toString('base64')],
    ['base64url', () => randomBytes(31).toString('base64url'), () => randomBytes(32).toString('base64url')],
    ['other text', () => `!${draw(printable, 29)}!`, () => `!${draw(printable, 30)}!`],
    // Two bytes each: bytes count, not characters.
    [
      'UTF-8',
      () => `!${draw('éèêëàâäôöûüçñß', 15)}`,
      () => `!?${draw('éèêëàâäôöûüçñßaeiouxyz789', 8)}${draw('éèñ', 11)}`,
    ],
    ['hex with colons', () => hex(31).replace(/..(?=.)/g, '$&:'), () => hex(32).replace(/..(?=.)/g, '$&:')],
    ['hex after 0x', () => `0x${hex(31)}`, () => `0x${hex(32)}`],
    ['a UUID twice', () => `${randomUUID()}`, () => `${randomUUID()}${randomUUID()}`],
  ])('in %s', (_what, short, enough) => {
    expect(rule(short())).toBe(tooShort)
    expect(rule(enough())).not.toBe(tooShort)
  })

  test('32 hexadecimal digits are 16 bytes', () => {
    expect(rule(randomBytes(16).toString('hex'))).toBe(tooShort)
  })
})

test.each(['', ' ', '\n', '\t \r\n', '\u00a0'])('refuses %j as empty [E1]', (text) => {
  expect(rule(text)).toBe('is empty')
})

test.each([
  'a'.repeat(64),
  '0'.repeat(64),
  'abcd'.repeat(16),
  'Ab1!'.repeat(10),
  'deadbeef'.repeat(8),
  'Tr0ub4dor&3'.repeat(3),
  '00112233445566778899aabbccddeeff'.repeat(2),
  randomBytes(8).toString('hex').repeat(8),
])('refuses text that repeats itself: %s [E1]', (text) => expect(rule(text)).toBe(regular))

test.each([
  'abcdefghijklmnopqrstuvwxyz0123456789abcdefgh',
  'zyxwvutsrqponmlkjihgfedcba9876543210zyxwvuts',
  '0123456789abcdef'.repeat(4),
  '1234567890'.repeat(7),
  'acegikmoqsuwyacegikmoqsuwyacegikmoqsuwyacegik',
  Array.from({ length: 30 }, (_, index) => String(index).padStart(3, '0')).join(''),
  Array.from({ length: 60 }, (_, index) => index.toString(16)).join(''),
  'a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0u1v2',
  'qwertyuiopasdfghjklzxcvbnm1234567890qwertyu',
  printable,
])('refuses sequences: %s [E1]', (text) => expect(rule(text)).toBe(regular))

test.each([
  'correct horse battery staple correct battery',
  'thequickbrownfoxjumpsoverthelazydogandmore!',
  'This is the secret of our company server, do not share!',
  'my-super-secret-jwt-signing-key-for-production',
  'MY_SUPER_SECRET_JWT_SIGNING_KEY_FOR_PRODUCTION',
  'jwt_refresh_token_secret_key_development_2024',
  'supersecretsupersecretsupersecret!',
])('refuses phrases: %s [E1]', (text) => expect(rule(text)).toBe(regular))

describe('refuses placeholders [E1]', () => {
  const inExample = [...readFileSync('.env.example', 'utf8').matchAll(/^\w+_SECRET\w*=(.+)$/gm)].map(
    ([, value]) => value ?? '',
  )
  const tail = randomBytes(32).toString('hex')
  test.each([
    ...inExample,
    `change-me-${tail}`,
    `changeme${tail}`,
    `REPLACE_ME_${tail}`,
    `replace me ${tail}`,
    `your-${tail}`,
    `your_${tail}`,
    `<${tail}>`,
    ` <${tail}>\n`,
  ])('%s', (text) => {
    expect(rule(text)).toBe('is a placeholder')
    expect(placeholder.test(text.trim())).toBe(true)
  })

  test('.env.example has some', () => {
    expect(inExample).toHaveLength(2)
  })
})

describe('refuses what is publicly known [E1]', () => {
  // From tutorials of Spring Boot and FastAPI, and from RFC 7515 A.1.
  const known = [
    '404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970',
    '09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7',
    'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
  ]
  test.each(known)('%s', (text) => {
    expect(rule(text)).toBe('is publicly known')
    expect(rule(text.toLowerCase())).toBe('is publicly known')
  })

  test.each(known.slice(1))('%s, but accepts it with one character changed', (text) => {
    expect(rule(text.slice(0, 20) + (text[20] === '1' ? '2' : '1') + text.slice(21))).toBeUndefined()
  })
})

test.each(['"', "'", ' x', 'R'])(
  'refuses a reference behind %j, because others could guess it as a secret [E1]',
  (start) => {
    const reference = `${start}ref+awssecrets://prod/7f3a9c1e-5b2d-4e8f-9a6c-1d0e2f3b4c5a`

    expect(secretProblem(reference)).toMatch(/^is a reference with something in front of it/)
  },
)

describe('refuses weak secrets also in base64, hex or base32 [E1]', () => {
  const phrase = 'my super secret jwt signing key for production'
  const base32 = (text: string) =>
    (
      [...Buffer.from(text)]
        .map((byte) => byte.toString(2).padStart(8, '0'))
        .join('')
        .match(/.{5}/g) ?? []
    )
      .map((bits) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[Number.parseInt(bits, 2)])
      .join('')
  const counting = Buffer.from(Array.from({ length: 48 }, (_, index) => index))
  const words16 = Buffer.from(Array.from({ length: 24 }, (_, index) => [0, index]).flat())

  test.each<[what: string, text: string, expected: string]>([
    ['a phrase in base64', Buffer.from(phrase).toString('base64'), regular],
    ['a phrase in base64url', Buffer.from(phrase).toString('base64url'), regular],
    ['a phrase in hex', Buffer.from(phrase).toString('hex'), regular],
    [
      'a phrase in hex with colons',
      Buffer.from(phrase)
        .toString('hex')
        .replace(/..(?=.)/g, '$&:'),
      regular,
    ],
    ['a phrase in UTF-16 and base64', Buffer.from(phrase, 'utf16le').toString('base64'), regular],
    ['a phrase in base32', base32(phrase), regular],
    ['a phrase in base64, as Laravel writes it', `base64:${Buffer.from(phrase).toString('base64')}`, regular],
    [
      'a phrase in hex in base64',
      Buffer.from(Buffer.from(phrase).toString('hex')).toString('base64'),
      regular,
    ],
    ['bytes that count up, in hex', counting.toString('hex'), regular],
    ['bytes that count up, in base64', counting.toString('base64'), regular],
    ['16-bit numbers that count up, in hex', words16.toString('hex'), regular],
    ['32 equal bytes in base64', Buffer.alloc(32, 0xa7).toString('base64'), regular],
    ['half the bytes, twice, in base64', Buffer.alloc(64, randomBytes(16)).toString('base64'), regular],
    ['16 bytes in hex in base64', Buffer.from(hex(16)).toString('base64'), tooShort],
    [
      'a known secret in another alphabet',
      Buffer.from(
        'AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow',
        'base64',
      ).toString('hex'),
      'is publicly known',
    ],
    [
      'a known secret in base64',
      Buffer.from('09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7').toString('base64'),
      'is publicly known',
    ],
  ])('%s', (_what, text, expected) => {
    expect([expected, decoded(expected)]).toContain(rule(text))
  })
})

describe('refuses a secret with something around it by mistake [E1]', () => {
  const secret = randomBytes(48).toString('base64url')
  test.each<[what: string, text: string, expected: string]>([
    [
      'the banner of npm',
      `\n> server@1.0.0 secrets\n> tsx src/secrets/cli/cli.ts generate\n\n${secret}`,
      lineBreak,
    ],
    ['a second line', `${secret}\n${secret}`, lineBreak],
    ['a carriage return', `${secret}\r${secret}`, lineBreak],
    ['a line separator', `${secret}\u2028${secret}`, lineBreak],
    ['a next line', `${secret}\u0085${secret}`, lineBreak],
    ['NUL, as in UTF-16', [...secret].join('\0'), lineBreak],
    ['a terminal escape', `\u001b[32m${secret}`, lineBreak],
    ['a second trailing newline', `${secret}\n`, edges],
    ['a blank at the start', ` ${secret}`, edges],
    ['a tab at the end', `${secret}\t`, edges],
    ['a no-break space', `${secret}\u00a0`, edges],
    ['a zero-width space', `\u200b${secret}`, edges],
    ['a BOM', `\ufeff${secret}`, edges],
    ['double quotes', `"${secret}"`, edges],
    ['single quotes', `'${secret}'`, edges],
    ['backticks', `\`${secret}\``, edges],
    ['half a pair of quotes', `${secret}"`, edges],
    ['typographic quotes', `“${secret}”`, edges],
    ['single guillemets', `‹${secret}›`, edges],
    ['full-width quotes', `＂${secret}＂`, edges],
    ['a line of .env', `JWT_ACCESS_SECRET=${secret}`, assignment],
    ['a line of .env with another name', `MY_SETTING=${secret}`, assignment],
    ['a line of a shell script', `export jwtSecret=${secret}`, assignment],
    ['a line of Java properties', `app.jwt.secret=${secret}`, assignment],
    ['a line of JSON', `"jwtSecret": "${secret}",`, assignment],
    ['an option of a command', `--access-secret=${secret}`, assignment],
    ['a line of YAML', `jwt_refresh_secret: ${secret}`, assignment],
    [
      'bytes that are not UTF-8',
      Buffer.concat([Buffer.from(secret), Buffer.from([0xe9])]).toString(),
      'contains U+FFFD, which stands for bytes that are not UTF-8',
    ],
  ])('%s', (_what, text, expected) => {
    expect(rule(secret)).toBeUndefined()
    expect(rule(text)).toBe(expected)
  })
})

describe('refuses invisible characters at both ends and inside [E1]', () => {
  const secret = randomBytes(48).toString('base64url')
  const codes = [
    0xad, 0x61c, 0x180e, 0x200b, 0x200d, 0x200f, 0x202a, 0x202e, 0x2060, 0x2064, 0x2066, 0x2800, 0x3164,
  ]
  test.each([...codes, 0xfe00, 0xfe0f, 0xfeff, 0xe0001, 0xe0100].map((code) => [code.toString(16), code]))(
    'U+%s',
    (_hex, code) => {
      const character = String.fromCodePoint(Number(code))

      expect(rule(character + secret)).toBe(edges)
      expect(rule(secret + character)).toBe(edges)
      expect(rule(secret.slice(0, 20) + character + secret.slice(20))).toBe(invisible)
    },
  )

  test('a no-break space inside', () => {
    expect(rule(`${secret.slice(0, 20)}\u00a0${secret.slice(20)}`)).toBe(invisible)
  })
})

describe('refuses samples from RFCs, documentation and tutorials, in any encoding [E1]', () => {
  // In halves, because tools that look for secrets would report whole ones.
  test.each([
    [
      'Express projects',
      '09f26e402586e2faa8da4c98a35f1b20d6b033c6097befa8be3486a829587fe2',
      'f90a832bd3ff9d42710a4da095a2ce285b009f0c3730cd9b8e1af3eb84df6611',
    ],
    ['Spring projects', '3cfa76ef14937c1c0ea519f8fc057a80', 'fcd04a7420f8e8bcd0a7567c272e007b'],
    ['Flask', '192b9bdd22ab9ed4d12e236c78afcb9a', '393ec15f71bbf5dc987d54727823bcbf'],
    ['jose', 'cc7e0d44fd473002f1c4216745900114', '0ec6389b7353f8088f4d9a95f2f596f2'],
    [
      'RFC 7520, 3.5',
      Buffer.from('hJtXIZ2uSN5kbQfbtTNWbpdm', 'base64').toString('hex'),
      Buffer.from('hkV8FJG-Onbc6mxCcYg', 'base64').toString('hex'),
    ],
    [
      'RFC 7516, B.1',
      Buffer.from('BNMfxVSd_P4LZJ36P6pqzmt8', 'base64').toString('hex'),
      Buffer.from('1C1vawnbyLEA8I-cLM8', 'base64').toString('hex'),
    ],
  ])('%s', (_what, start, end) => {
    const bytes = Buffer.from(start + end, 'hex')
    const encoded = [bytes.toString('hex'), bytes.toString('base64'), bytes.toString('base64url')]
    const twice = Buffer.from(start + end).toString('base64')
    const rules = [...encoded, encoded[0]?.toUpperCase() ?? '', twice].map(rule)

    for (const each of rules) expect([published, decoded(published)]).toContain(each)
  })

  test.each(['', 'password', 'secret', 'test', 'jwt', 'secret\n', 'dragon'])('the digests of %j', (word) => {
    for (const algorithm of ['sha256', 'sha384', 'sha512']) {
      const digest = createHash(algorithm).update(word).digest()
      for (const text of [digest.toString('hex'), digest.toString('base64'), digest.toString('base64url')])
        expect([published, decoded(published)]).toContain(rule(text))
    }
    for (const algorithm of ['md5', 'sha1'])
      expect(rule(createHash(algorithm).update(word).digest('hex'))).toBe(tooShort)
  })
})

describe('the list of leaked secrets [E1]', () => {
  const text = readFileSync('src/secrets/leaked-jwt-secrets.sha256', 'utf8')
  const lines = text.split('\n')

  test('has one digest per line, sorted, and none twice', () => {
    expect(lines.pop()).toBe('')
    expect(lines).toHaveLength(1826)
    expect(lines.filter((line) => !/^[0-9a-f]{64}$/.test(line))).toEqual([])
    expect(lines).toEqual([...new Set(lines)].sort())
  })

  test.each([
    ['LF', text],
    ['CRLF', text.replaceAll('\n', '\r\n')],
    ['CR', text.replaceAll('\n', '\r')],
    ['a BOM and no last line end', `\ufeff${text.trimEnd()}`],
  ])('is read completely with %s', (_what, written) => {
    const digests = parseDigests(written)

    expect(digests.size).toBe(1826)
    expect(digests.has(createHash('sha256').update('secret').digest('hex'))).toBe(
      text.includes(createHash('sha256').update('secret').digest('hex')),
    )
  })
})

describe('refuses key files [A2]', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const ed25519 = generateKeyPairSync('ed25519').privateKey
  const sshKey = Buffer.concat([
    Buffer.from([0, 0, 0, 11]),
    Buffer.from('ssh-ed25519'),
    Buffer.from([0, 0, 0, 32]),
    randomBytes(32),
  ]).toString('base64')
  test.each<[what: string, text: string]>([
    ['a PKCS 8 private key', rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()],
    ['a PKCS 1 private key', rsa.privateKey.export({ type: 'pkcs1', format: 'pem' }).toString()],
    ['a SEC 1 private key', ec.privateKey.export({ type: 'sec1', format: 'pem' }).toString()],
    ['a public key', ec.publicKey.export({ type: 'spki', format: 'pem' }).toString()],
    ['a certificate', `-----BEGIN CERTIFICATE-----\n${randomBytes(300).toString('base64')}`],
    [
      'PEM with its line breaks escaped',
      ec.publicKey.export({ type: 'spki', format: 'pem' }).toString().replaceAll('\n', '\\n'),
    ],
    ['a private JWK', JSON.stringify(ec.privateKey.export({ format: 'jwk' }))],
    ['a public JWK', JSON.stringify(rsa.publicKey.export({ format: 'jwk' }))],
    ['a JWK set, indented', JSON.stringify({ keys: [ec.publicKey.export({ format: 'jwk' })] }, null, 2)],
    ['a symmetric JWK', JSON.stringify({ kty: 'oct', k: randomBytes(32).toString('base64url') })],
    ['a JWK written by hand', `{ "k": "${randomBytes(32).toString('base64url')}", "kty" : "oct" }`],
    ['a JWK escaped in a string', JSON.stringify(JSON.stringify(ec.privateKey.export({ format: 'jwk' })))],
    ['an OpenSSH public key', `ssh-ed25519 ${sshKey} me@laptop`],
    ['an OpenSSH public key with options', `no-pty,command="x" ssh-rsa ${sshKey} me`],
    ['an OpenSSH public key without its type', `${sshKey} me@laptop`],
    ['an OpenSSH security key', `sk-ssh-ed25519@openssh.com ${sshKey}`],
    ['an OpenSSH private key', `-----BEGIN OPENSSH PRIVATE KEY-----\n${sshKey}\n`],
    ['an RFC 4716 public key', `---- BEGIN SSH2 PUBLIC KEY ----\n${sshKey}\n---- END SSH2 PUBLIC KEY ----`],
    ['a PuTTY private key', `PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n${sshKey}`],
  ])('%s', (_what, text) => {
    expect(rule(text)).toBe(wrongKind)
  })

  const pkcs8 = ec.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const lines = pkcs8.trim().split('\n')
  const body = lines.slice(1, -1)
  const der = rsa.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64')
  const jwk = JSON.stringify(ec.privateKey.export({ format: 'jwk' }))
  const escapeAll = (text: string) =>
    [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
  const certificate = (type: string) =>
    Buffer.concat([Buffer.from([0, 0, 0, type.length]), Buffer.from(type), randomBytes(200)]).toString(
      'base64',
    )
  const certificates = [
    'ssh-ed25519-cert-v01@openssh.com',
    'ssh-rsa-cert-v01@openssh.com',
    'ecdsa-sha2-nistp256-cert-v01@openssh.com',
    'sk-ssh-ed25519-cert-v01@openssh.com',
    'sk-ecdsa-sha2-nistp256@openssh.com',
    'webauthn-sk-ecdsa-sha2-nistp256@openssh.com',
  ]
  test.each<[what: string, text: string]>([
    ...certificates.map((type): [string, string] => [type, `${type} ${certificate(type)} me`]),
    ...certificates.map((type): [string, string] => [`the base64 of ${type}`, certificate(type)]),
    ['an SSH key behind =', `key=${sshKey}`],
    ['an SSH key behind %20', `ssh-ed25519%20${sshKey}`],
    ['an SSH key behind +', `ssh-ed25519+${sshKey}`],
    ['percent-encoded PEM', encodeURIComponent(pkcs8)],
    ['PEM, percent-encoded twice', encodeURIComponent(encodeURIComponent(pkcs8))],
    ['PEM with every byte percent-encoded', escapeAll(pkcs8)],
    ['PEM with + for blanks', pkcs8.replace(/[ \n]/g, '+')],
    ['the body of PEM, joined by blanks', body.join(' ')],
    ['the body of PEM, joined by commas', body.join(',')],
    ['the body of PEM, joined by \\n', body.join('\\n')],
    ['the body of PEM in short pieces', der.replace(/.{16}/g, '$& ')],
    ['the body of PEM in quotes and pieces', der.replace(/.{20}/g, "$&', '")],
    ['the body of PEM with its END line', lines.slice(1).join(' ')],
    ['END line behind text', `${randomBytes(48).toString('base64')} -----END EC PRIVATE KEY-----`],
    ['a percent-encoded JWK', encodeURIComponent(jwk)],
    ['a JWK with an escaped name', jwk.replace('kty', '\\u006bty')],
    ['a JWK with an escaped name in a string', JSON.stringify(jwk.replace('kty', '\\u006b\\u0074y'))],
    ['a JWK in HTML', jwk.replaceAll('"', '&quot;')],
    ['the body of PEM between dashes', `-----${body.join('')}-----`],
    ['a JWK of k only', JSON.stringify({ k: randomBytes(32).toString('base64url') })],
    ['a JWK of k only, without quotes', `{ k: ${randomBytes(32).toString('base64url')} }`],
    ['DER behind key=', `key=${der}`],
    ['DER in hex behind key=', `key=${Buffer.from(der, 'base64').toString('hex')}`],
    ['DER in a data URI', `data:application/pkcs8;base64,${der}`],
    ['a JWK in a data URI', `data:application/json;base64,${Buffer.from(jwk).toString('base64')}`],
  ])('%s', (_what, text) => {
    expect([wrongKind, decoded(wrongKind)]).toContain(rule(text))
  })

  test('is linear in the length of the text', () => {
    const started = performance.now()
    for (const part of ['%25', '\\', '\\u006b', 'k:', '{ ', 'AAAA', ' ,', "'k' ", '--BEGIN'])
      rule(part.repeat(100_000 / part.length))

    expect(performance.now() - started).toBeLessThan(9_000)
  })

  test.each<[what: string, text: string]>([
    ['an OpenSSH public key', sshKey],
    ['an OpenSSH public key in hex', Buffer.from(sshKey, 'base64').toString('hex')],
    ['an OpenSSH private key', Buffer.from(`openssh-key-v1\0${randomBytes(90)}`).toString('base64')],
    ['a PKCS 8 private key', ec.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64')],
    ['a PKCS 1 private key', rsa.privateKey.export({ type: 'pkcs1', format: 'der' }).toString('base64')],
    ['a SEC 1 private key', ec.privateKey.export({ type: 'sec1', format: 'der' }).toString('hex')],
    ['a public key', rsa.publicKey.export({ type: 'spki', format: 'der' }).toString('base64url')],
    ['a PKCS 1 public key', rsa.publicKey.export({ type: 'pkcs1', format: 'der' }).toString('base64')],
    ['an Ed25519 key', ed25519.export({ type: 'pkcs8', format: 'der' }).toString('base64')],
    ['PEM, encoded whole', Buffer.from(pkcs8).toString('base64')],
    [
      'a JWK, encoded whole',
      Buffer.from(JSON.stringify(ed25519.export({ format: 'jwk' }))).toString('base64url'),
    ],
  ])('%s as bare base64 or hex', (_what, text) => {
    expect([wrongKind, decoded(wrongKind)]).toContain(rule(text))
  })
})

test.each([
  '',
  'change-me',
  'QzK7canaryWv5',
  'QzK7canaryWv5'.repeat(8),
  'QzK7canary and other common words of the language together',
  '-----BEGIN QzK7canaryWv5',
  '09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7',
])('the message for %j says the rule and the fix, and nothing of the value [E6]', (text) => {
  const message = secretProblem(text) ?? ''

  expect(message).toMatch(/^\S.*\. Set one made by: npm run -s secrets -- generate$/)
  expect(message).not.toMatch(/canary|QzK7|09d25e|change/)
})
