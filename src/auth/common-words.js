// A matcher for zxcvbn-ts. Without it, zxcvbn-ts never finds four words predictable, because it counts each word alone.
import { readFileSync } from 'node:fs'
import { MatcherBaseClass } from '@zxcvbn-ts/core'

/** Words of well-known sets. People write the words of a set one after the other. */
const sets = new Set(
  [
    'red orange yellow green blue indigo violet purple pink brown black white grey gray silver gold',
    'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen twenty hundred',
    'first second third fourth fifth sixth seventh eighth ninth tenth',
    'monday tuesday wednesday thursday friday saturday sunday',
    'january february march april may june july august september october november december',
    'spring summer autumn fall winter north south east west',
    'mercury venus earth mars jupiter saturn uranus neptune pluto',
  ].flatMap((set) => set.split(' ')),
)

// Attackers expect the most common words, and a word of a set after another word of a set.
const expectedWords = 160
const expectedGuesses = 10
const firstOfSetGuesses = 100

/** The number of guesses for each word: its rank, or less. */
const guessesFor = new Map([...sets].map((word) => [word, firstOfSetGuesses]))
readFileSync(new URL('./common-words.txt', import.meta.url), 'utf8')
  .split(/\r?\n/)
  .filter(Boolean)
  .forEach((word, i) => {
    const guesses = i < expectedWords ? expectedGuesses : i + 1
    guessesFor.set(word, Math.min(guesses, guessesFor.get(word) ?? Infinity))
  })

const longestWord = Math.max(...[...guessesFor.keys()].map((word) => word.length))

// Bounds the work for texts such as "aaaa". A run of so many guesses makes no password predictable.
const mostGuesses = 1e9

class CommonWordsMatcher extends MatcherBaseClass {
  /** @param {import('@zxcvbn-ts/core').MatchOptions} options */
  match({ password }) {
    return Array.from({ length: password.length }).flatMap((_, start) => runsFrom(start, password))
  }
}

/**
 * Returns the runs of common words that begin at `start`, with the fewest guesses for each end.
 * @param {number} start
 * @param {string} text
 */
function runsFrom(start, text) {
  /** The run that ends at each position: its guesses, and its last word. */
  const runs = new Map([[start, { guesses: 1, last: '' }]])
  for (let from = start; from < text.length; from++) {
    const run = runs.get(from)
    if (run === undefined) continue
    for (let to = from + 1; to <= Math.min(text.length, from + longestWord); to++) {
      const word = text.slice(from, to)
      const guesses = run.guesses * guessesAfter(run.last, word)
      if (guesses < Math.min(mostGuesses, runs.get(to)?.guesses ?? Infinity))
        runs.set(to, { guesses, last: word })
    }
  }
  runs.delete(start)
  return [...runs].map(([end, { guesses }]) => ({
    pattern: 'commonWords',
    i: start,
    j: end - 1,
    token: text.slice(start, end),
    wordGuesses: guesses,
  }))
}

/**
 * @param {string} previous
 * @param {string} word
 */
function guessesAfter(previous, word) {
  return sets.has(previous) && sets.has(word) ? expectedGuesses : (guessesFor.get(word) ?? Infinity)
}

/** Finds runs of common English words that have no separators. */
export const commonWords = {
  Matching: CommonWordsMatcher,
  scoring: (/** @type {import('@zxcvbn-ts/core').Match} */ { wordGuesses }) => Number(wordGuesses),
  feedback: () => null,
}
