import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { getRounds } from 'bcrypt'
import { Piscina } from 'piscina'
import { AuthError } from '../errors.ts'
import { networksOf } from '../network.ts'
import type { Credentials } from '../store/users.ts'
import { createFairQueue, type Job } from './fair-queue.ts'

export interface HashedPassword {
  passwordHash: string
  passwordScheme: number
}

/**
 * The client that a password is hashed for. The queue is fair to network addresses and accounts, and prefers known
 * devices.
 */
export interface Asker {
  /** The account's id, or the e-mail address that was typed if there is no account. */
  account: string
  ip: string | undefined
  /** The id of a device that has logged in to this account before. */
  knownDevice: string | undefined
  /** Removes the password from the queue when it aborts. */
  gone?: AbortSignal
}

type Task = 'hash' | 'verify' | 'isPredictable'

/** Threads that run the functions of password-worker.js. */
export interface Threads {
  run(task: object, options: { name: Task }): Promise<unknown>
  destroy(): Promise<void>
}

const server: Asker = { account: '', ip: undefined, knownDevice: undefined }

// How the worker prepares a password for bcrypt. Increase it when `prepare` changes.
const scheme = 1
const hashesWaitingPerThread = 32
const lowPriority = 10

/**
 * Checks and hashes passwords by NIST SP 800-63B-4. bcrypt runs in threads of low priority behind a bounded queue. So a
 * flood of logins is refused early, and does not slow down other requests.
 * @param options.cost the cost of bcrypt, as a power of two; `minLength` is in code points; `context` are words of this
 * site; `highestCost` returns the highest cost of all stored hashes, which may be above `cost`
 */
export function createPasswords(options: {
  cost: number
  minLength: number
  context: readonly string[]
  highestCost?: () => Promise<number>
  startThreads?: (maxThreads: number) => Threads
}) {
  const { cost, minLength, startThreads = startPool } = options
  // Leave one core free. Low priority helps only the threads of this process, and not a database on the same machine.
  const maxThreads = Math.max(1, availableParallelism() - 1)
  const threads = startThreads(maxThreads)
  // The pool's own queue cannot drop a waiting task without ending a running thread.
  const queue = createFairQueue({ concurrency: maxThreads, capacity: maxThreads * hashesWaitingPerThread })
  // For accounts that do not exist. No password matches it, and it takes as long as any other.
  const dummy = hash(randomBytes(32).toString('hex'))
  dummy.catch(() => {})

  function run<T>(name: Task, task: object, asker: Asker): Promise<T> {
    return queue.add(jobOf(asker), () => threads.run(task, { name }) as Promise<T>)
  }

  // The time must not tell which hashes have a lower cost, even if the setting was changed.
  const workOfVerifying = async () => Math.max(cost, (await options.highestCost?.()) ?? 0)

  /** @throws AuthError `overloaded` */
  async function hash(password: string, asker = server): Promise<HashedPassword> {
    return { passwordHash: await run<string>('hash', { password, cost }, asker), passwordScheme: scheme }
  }

  return {
    hash,

    /**
     * Call this first in a request that needs a hash.
     * @throws AuthError `overloaded` if the queue is full and no other job would give way
     */
    refuseIfFull(asker = server): void {
      if (queue.isFullFor(jobOf(asker))) throw new AuthError('overloaded')
    },

    /**
     * Returns why a password is not good enough for an account, or undefined if it is. The message repeats no part of
     * the password. Checks the length, and whether attackers would try it early (password-judge.js). There are no
     * composition rules.
     * @throws AuthError `overloaded`
     */
    async problem(password: string, email: string, asker = server): Promise<string | undefined> {
      const text = password.normalize('NFC')
      if ([...text].length < minLength) return `must have ${minLength} characters or more`
      const task = { password: text, minLength, context: [...options.context, email] }
      if (await run<boolean>('isPredictable', task, asker))
        return 'is easy to guess. Use four or more unrelated words, or a password manager'
      return undefined
    },

    /**
     * Verifies a password, and does as much work as the most expensive stored hash needs. For an account that does not exist,
     * pass undefined. That takes the same time.
     * @throws AuthError `overloaded`
     */
    async verify(
      password: string,
      account: Pick<Credentials, 'passwordHash'> | undefined,
      asker = server,
    ): Promise<boolean> {
      const { passwordHash } = account ?? (await dummy)
      const task = { password, hash: passwordHash, cost: await workOfVerifying() }
      const match = await run<boolean>('verify', task, asker)
      return match && account !== undefined
    },

    /** Returns whether the hash was made with another cost or scheme than the current ones. */
    isOutdated(account: Credentials): boolean {
      return account.passwordScheme !== scheme || getRounds(account.passwordHash) !== cost
    },

    /** Returns the numbers of passwords that are being hashed, and that wait. */
    load: queue.load,

    async close() {
      await threads.destroy()
    },
  }
}

export type Passwords = ReturnType<typeof createPasswords>

/** Starts threads of low priority. */
export const startPool = (maxThreads: number): Threads =>
  new Piscina({
    filename: new URL('./password-worker.js', import.meta.url).href,
    maxThreads,
    idleTimeout: 60_000,
    niceIncrement: lowPriority,
    env: {},
  })

const jobOf = ({ ip, account, knownDevice, gone }: Asker): Job => ({
  flows: [...networksOf(ip), { name: `account ${account}`, shares: 1 }],
  preferred: knownDevice !== undefined,
  gone,
})
