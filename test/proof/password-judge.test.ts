// Judges hostile texts, thousands of common passwords and many random ones.

import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'
import { dictionary } from '@zxcvbn-ts/language-common'
import { isPredictable } from '../../src/auth/password-judge.js'

test.each([
  ['one sign after letters that repeat', `${'a'.repeat(63)}b`],
  ['digits that repeat nothing', '90213971866145183712193'.repeat(3).slice(0, 64)],
  ['signs that stand for letters', '44@4a@aA@4a4i!|1l!|!'.repeat(4).slice(0, 64)],
  ['an address that repeats in pieces', 'jtoommsmtish1hi3mjoij11m'.repeat(3).slice(0, 64)],
  ['common words of one letter', 'a'.repeat(30) + 'iiaaiaia'.repeat(4)],
  ['common words that begin others', 'inottobeforthemeonthereinto'.repeat(3).slice(0, 64)],
  ['signs that need shift, and letters in turn', '!a@b#c$d'.repeat(8)],
  ['8,000 characters', '.721.145/9/0'.repeat(700).slice(0, 8000)],
  ['8,000 characters of one kind', `${'a'.repeat(8000)}b`],
  ['8,000 ligatures, each of three letters', '\ufb03'.repeat(8000)],
  ['8,000 accents on one letter', `e${'\u0301'.repeat(8000)}`],
])('checks adversarial text within milliseconds of processor time: %s [D1]', (_name, text) => {
  const task = { password: text, minLength: 15, context: [`${'abc.'.repeat(60)}@example.com`] }
  isPredictable(task)
  const before = process.cpuUsage()

  for (let times = 0; times < 5; times++) isPredictable(task)

  const { user, system } = process.cpuUsage(before)
  expect((user + system) / 1000 / 5).toBeLessThan(400)
})

test('refuses the most common passwords of 15 characters and more, also with signs around them [D1]', () => {
  const common = readFileSync('src/auth/common-passwords.txt', 'utf8').trimEnd().split('\n')
  const sample = common.filter((_, i) => i < 100 || i % 100 === 0)
  const accepted = (text: string) => !isPredictable({ password: text, minLength: 15, context: [] })

  expect(common.length).toBeGreaterThan(3000)
  expect(common.filter((text) => text.length < 15)).toEqual([])
  expect(sample.filter(accepted)).toEqual([])
  expect(sample.filter((text) => accepted(text.toUpperCase()))).toEqual([])
  expect(sample.slice(0, 50).filter((text) => accepted(`${text}1!`))).toEqual([])
})

test('accepts random passwords and passphrases of four random words [D1]', () => {
  const words = dictionary['diceware-common'] ?? []
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!$'
  const some = (count: number, from: ArrayLike<string>) =>
    Array.from({ length: count }, () => from[randomInt(from.length)])
  const texts = Array.from({ length: 40 }, () => [
    some(15, letters).join(''),
    some(15, 'abcdefghijklmnopqrstuvwxyz').join(''),
    ...['', ' ', '-'].map((separator) => some(4, words).join(separator).padEnd(15, 'x')),
  ]).flat()
  const refused = (text: string) => isPredictable({ password: text, minLength: 15, context: [] })

  expect(texts.filter(refused)).toEqual([])
})
