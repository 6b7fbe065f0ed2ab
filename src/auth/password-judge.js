// Runs in worker threads, like password-worker.js, because a check may take tens of milliseconds.
import { readFileSync } from 'node:fs'
import { ZxcvbnFactory } from '@zxcvbn-ts/core'
import { adjacencyGraphs, dictionary } from '@zxcvbn-ts/language-common'
import { commonWords } from './common-words.js'

// The cost grows with the square of the length or faster. The rest of a text does not make a weak beginning strong.
const longestJudged = 64

// docs/decisions/017-judging-passwords.md explains the number. zxcvbn counts ten guesses for each character that it
// cannot explain. So a short password could not reach 10^9, if the settings allow short ones.
const fewestGuesses = (/** @type {number} */ minLength) => 10 ** Math.min(9, minLength - 2)

// Common lookalikes of Latin letters in either case: "В" looks like "B".
const lookalikes = new Map(
  [
    ['абвеһікмнорсԛѕтухјѵԁԝ', 'abbehikmhopcqstyxjvdw'],
    ['αβγεηικνορτυχω', 'abyenikvoptuxw'],
  ].flatMap(([other = '', latin = '']) => Array.from(other, (sign, i) => [sign, latin.charAt(i)])),
)

const beginnings = (/** @type {string} */ text, /** @type {number} */ from) =>
  Array.from({ length: text.length - from + 1 }, (_, i) => text.slice(0, from + i))

/** Examples of passphrases on web sites, and well-known texts, without spaces. */
const phrases = [
  'correcthorsebatterystaple',
  'thequickbrownfoxjumpsoverthelazydog',
  'tobeornottobethatisthequestion',
  'loremipsumdolorsitametconsectetur',
  'supercalifragilisticexpialidocious',
  'maytheforcebewithyoualways',
].flatMap((text) => beginnings(text, 15))

/** Digits that people know by heart: π, e, the square root of 2, the golden ratio, and simple series. */
const digits = [
  '31415926535897932384626433832795',
  '27182818284590452353602874713526',
  '14142135623730950488016887242096',
  '16180339887498948482045868343656',
  '112358132134558914423337761098715',
  '2468101214161820222426283032',
  '1357911131517192123252729',
  '149162536496481100121144169',
  '248163264128256512102420484096',
].flatMap((text) => beginnings(text, 8))

/** Returns a row of keys from both ends to the middle: "qpwoei". */
const outsideIn = (/** @type {string} */ row) =>
  Array.from(row, (_, i) => row.at(i % 2 === 0 ? i / 2 : -(i + 1) / 2)).join('')

/** Walks over keyboards that zxcvbn-ts does not know. */
const walks = [
  ...['йцукенгшщзхъ', 'фывапролджэ', 'ячсмитьбю'],
  ...['1234567890', 'qwertyuiop', 'asdfghjkl', 'zxcvbnm'].map(outsideIn),
].flatMap((row) => beginnings(fold(row), 4))

// The characters of an American keyboard with and without shift.
const shifted = '~!@#$%^&*()_+{}|:"<>?'
const unshifted = "`1234567890-=[]\\;',./"

const zxcvbn = new ZxcvbnFactory(
  {
    dictionary: {
      ...dictionary,
      'passwords-long': readLines(new URL('./common-passwords.txt', import.meta.url)),
      phrases,
      digits,
      walks,
    },
    graphs: adjacencyGraphs,
    maxLength: longestJudged,
    l33tMaxSubstitutions: 20,
  },
  { commonWords },
)

/**
 * Says whether a password is among those that attackers try first: common passwords, words of the context, keyboard
 * walks, sequences and dates; also repeated, joined, padded, spelled with other signs, or written with separators.
 * ASVS 5.0 V6.2.4, V6.2.11; NIST SP 800-63B-4, 3.1.1.2.
 * @param {{ password: string, minLength: number, context: string[] }} task `context`: the account's address, the
 * names of the server
 * @returns {boolean}
 */
export function isPredictable({ password, minLength, context }) {
  const text = fold(password.slice(0, 4 * longestJudged))
  const parts = context.flatMap((name) => [name, ...name.split('@')])
  const words = parts.flatMap((part) => [part, unseparated(part), ...part.split(/[^\p{L}\p{N}]+/u)])
  const names = [...new Set(words.filter((word) => word.length > 2))]
  return [...formsOf(text)].some((form) => !(zxcvbn.check(form, names).guesses >= fewestGuesses(minLength)))
}

// Up to two kinds of signs are separators, which add no strength. More kinds may be a password themselves. Apostrophes
// do not count, because words such as "don't" contain them.
const separatorKinds = 2

/**
 * Returns the text in each form that may be predictable: unchanged, without separators, without the shift key, and with
 * two interleaved texts put one after the other.
 * @param {string} text
 */
function formsOf(text) {
  const plain = [text, unshift(text)].map((form) => (isSeparated(form) ? unseparated(form) : form))
  return new Set([text, ...plain, ...plain.map(inTurn)])
}

/** @param {string} text */
function isSeparated(text) {
  const kinds = new Set(text.match(/[^\p{L}\p{N}'’]/gu))
  return kinds.size <= separatorKinds
}

/** @param {string} text */
function unshift(text) {
  return Array.from(text, (sign) => unshifted[shifted.indexOf(sign)] ?? sign).join('')
}

// Returns "123abc" for "1a2b3c".
/** @param {string} text */
function inTurn(text) {
  const signs = [...text].slice(0, longestJudged)
  return [0, 1].flatMap((odd) => signs.filter((_, i) => i % 2 === odd)).join('')
}

/** @param {string} text */
function unseparated(text) {
  return text.replace(/[^\p{L}\p{N}]/gu, '')
}

// Returns "password" for "Ｐàsswоrd" with a Cyrillic "о".
/** @param {string} text */
function fold(text) {
  const folded = text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase()
  return Array.from(folded, (sign) => lookalikes.get(sign) ?? sign).join('')
}

/** @param {URL} file */
function readLines(file) {
  return readFileSync(file, 'utf8').split(/\r?\n/).filter(Boolean)
}
