import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { dictionary } from '@zxcvbn-ts/language-common'
import { getRounds } from 'bcrypt'
import PQueue from 'p-queue'
import { Piscina } from 'piscina'
import type { Credentials } from '../store/users.ts'
import { AuthError } from './errors.ts'

export interface HashedPassword {
  passwordHash: string
  passwordScheme: number
}

// How the worker prepares a password for bcrypt.
const scheme = 1
const hashesWaitingPerThread = 24
const lowPriority = 10

/**
 * Passwords by NIST SP 800-63B-4, hashed with bcrypt in worker threads of low priority behind a bounded queue, so that
 * a flood of logins is refused early and never slows down the rest.
 * @param options.cost of bcrypt, as a power of two; `minLength` in code points; `context`: words of this site
 */
export function createPasswords(options: { cost: number; minLength: number; context: readonly string[] }) {
  const { cost, minLength } = options
  // One core is left to everything else, the database included where it is on this machine: low priority counts only
  // against the threads of this process.
  const maxThreads = Math.max(1, availableParallelism() - 1)
  const pool = new Piscina<unknown, never>({
    filename: new URL('./password-worker.js', import.meta.url).href,
    maxThreads,
    idleTimeout: 60_000,
    niceIncrement: lowPriority,
    env: {},
  })
  // Not the pool's own queue: that one cannot drop what waits without ending the thread of what runs.
  const queue = new PQueue({ concurrency: maxThreads })
  const capacity = maxThreads * hashesWaitingPerThread
  // For accounts that do not exist: no password matches it, and it takes as long as any other.
  const dummy = hash(randomBytes(32).toString('hex'))
  dummy.catch(() => {})

  function refuseIfFull(): void {
    if (queue.size >= capacity) throw new AuthError('overloaded')
  }

  async function run<T>(name: 'hash' | 'verify', task: object, gone?: AbortSignal): Promise<T> {
    refuseIfFull()
    const waiting = new AbortController()
    const giveUp = () => waiting.abort(new AuthError('overloaded', { cause: 'nobody waits for it any more' }))
    gone?.addEventListener('abort', giveUp)
    if (gone?.aborted) giveUp()
    const start = () => {
      gone?.removeEventListener('abort', giveUp)
      return pool.run({ ...task, cost }, { name })
    }
    return queue.add(start, { signal: waiting.signal })
  }

  /**
   * @param gone takes it out of the queue when aborted
   * @throws AuthError `overloaded`
   */
  async function hash(password: string, gone?: AbortSignal): Promise<HashedPassword> {
    return { passwordHash: await run<string>('hash', { password }, gone), passwordScheme: scheme }
  }

  return {
    hash,

    /** How many passwords can wait to be hashed. */
    capacity,

    /** Before anything else is done for a request that will need a hash. @throws AuthError `overloaded` */
    refuseIfFull,

    /**
     * Says why a password is not good enough for an account, without a word of it; undefined where it will do.
     * Lengths and a list of what is tried first, no composition rules.
     */
    problem(password: string, email: string): string | undefined {
      const text = password.normalize('NFC')
      if ([...text].length < minLength) return `must have ${minLength} characters or more`
      if (isPredictable(text.toLowerCase(), [...options.context, email, ...email.split(/[@.]/)]))
        return 'must not be a common password, a repetition, or a name that others can guess'
      return undefined
    },

    /**
     * Verifies a password. For an account that does not exist, pass undefined: it takes the same time.
     * @param gone takes it out of the queue when aborted
     * @throws AuthError `overloaded`
     */
    async verify(password: string, account: Credentials | undefined, gone?: AbortSignal): Promise<boolean> {
      const { passwordHash } = account ?? (await dummy)
      const match = await run<boolean>('verify', { password, hash: passwordHash }, gone)
      return match && account !== undefined
    },

    /** Whether the hash was made with another cost or scheme than today's. */
    isOutdated(account: Credentials): boolean {
      return account.passwordScheme !== scheme || getRounds(account.passwordHash) !== cost
    },

    /** Passwords being hashed, and waiting for it. */
    load: () => ({ running: queue.pending, waiting: queue.size }),

    async close() {
      await pool.destroy()
    },
  }
}

export type Passwords = ReturnType<typeof createPasswords>

const common = new Set(dictionary['passwords-common'])

// What is tried first: common passwords and names around the account; as they are, with digits or punctuation at
// their ends, with separators, or repeated; two or three characters repeated; and runs like "abcdefghijklmno".
function isPredictable(text: string, names: readonly string[]): boolean {
  const characters = [...text]
  const isLetter = (character: string) => /\p{L}/u.test(character)
  const bare = characters
    .slice(characters.findIndex(isLetter), characters.findLastIndex(isLetter) + 1)
    .join('')
  const joined = characters.filter((character) => /[\p{L}\p{N}]/u.test(character)).join('')
  const forms = [text, bare, joined].flatMap((form) => [form, repeatedUnit(form)])
  const refused = new Set(names.map((name) => name.toLowerCase()))
  const steps = characters.map((character, i) => codePoint(character) - codePoint(characters[i - 1]))
  return (
    new Set(steps.slice(1)).size === 1 ||
    repeatedUnit(text).length < 5 ||
    forms.some((form) => common.has(form) || refused.has(form))
  )
}

const codePoint = (character: string | undefined) => character?.codePointAt(0) ?? 0

const longestUnit = 64

// "abcabcab" -> "abc"; a text that repeats nothing is its own unit. Bounded, as anybody may send long passwords.
function repeatedUnit(text: string): string {
  for (let length = 1; length <= Math.min(text.length / 2, longestUnit); length++)
    if (text.startsWith(text.slice(length))) return text.slice(0, length)
  return text
}
