import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
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

  async function run<T>(
    name: 'hash' | 'verify' | 'isPredictable',
    task: object,
    gone?: AbortSignal,
  ): Promise<T> {
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
     * Its length, and whether attackers would try it early (password-judge.js); no composition rules.
     * @param gone takes it out of the queue when aborted
     * @throws AuthError `overloaded`
     */
    async problem(password: string, email: string, gone?: AbortSignal): Promise<string | undefined> {
      const text = password.normalize('NFC')
      if ([...text].length < minLength) return `must have ${minLength} characters or more`
      const task = { password: text, minLength, context: [...options.context, email] }
      if (await run<boolean>('isPredictable', task, gone))
        return 'is easy to guess: use four or more unrelated words, or let a password manager make one'
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
