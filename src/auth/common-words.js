// A matcher for zxcvbn-ts. Its own dictionaries count each word as a part, so that four words are never predictable.
import { readFileSync } from 'node:fs'
import { MatcherBaseClass } from '@zxcvbn-ts/core'

/** The words of well-known sets. People write the words of a set one after the other. */
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

// The words beside them lead an attacker to the most common words, and to a word of a set that follows another.
const expectedWords = 160
const expectedGuesses = 10
const firstOfSetGuesses = 100

/** The guesses for each word: its rank, or fewer. */
const guessesFor = new Map([...sets].map((word) => [word, firstOfSetGuesses]))
readFileSync(new URL('./common-words.txt', import.meta.url), 'utf8')
  .split(/\r?\n/)
  .filter(Boolean)
  .forEach((word, i) => {
    const guesses = i < expectedWords ? expectedGuesses : i + 1
    guessesFor.set(word, Math.min(guesses, guessesFor.get(word) ?? Infinity))
  })

const longestWord = Math.max(...[...guessesFor.keys()].map((word) => word.length))

// Bounds the work for text such as "aaaa". No run of so many guesses makes a password predictable.
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
  /** For each position, the run that ends there: its guesses, and its last word. */
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
