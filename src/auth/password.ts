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

/** Who a password is hashed for. The queue is fair to addresses and accounts, and knows devices. */
export interface Asker {
  /** The account's id, or what was typed if there is no account. */
  account: string
  ip: string | undefined
  /** A device that has logged in to this account before. */
  knownDevice: string | undefined
  /** Takes the password out of the queue when aborted. */
  gone?: AbortSignal
}

const server: Asker = { account: '', ip: undefined, knownDevice: undefined }

// How the worker prepares a password for bcrypt.
const scheme = 1
const hashesWaitingPerThread = 32
const lowPriority = 10

/**
 * Passwords by NIST SP 800-63B-4, hashed with bcrypt in worker threads of low priority behind a bounded queue, so that
 * a flood of logins is refused early and never slows down the rest.
 * @param options.cost of bcrypt, as a power of two; `minLength` in code points; `context`: words of this site;
 * `dearestCost`: what the dearest hash there is costs, if it may cost more than `cost`
 */
export function createPasswords(options: {
  cost: number
  minLength: number
  context: readonly string[]
  dearestCost?: () => Promise<number>
}) {
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
  const queue = createFairQueue({ concurrency: maxThreads, capacity: maxThreads * hashesWaitingPerThread })
  // For accounts that do not exist: no password matches it, and it takes as long as any other.
  const dummy = hash(randomBytes(32).toString('hex'))
  dummy.catch(() => {})

  function run<T>(name: 'hash' | 'verify' | 'isPredictable', task: object, asker: Asker): Promise<T> {
    return queue.add(jobOf(asker), () => pool.run(task, { name }))
  }

  // Time must not tell which hashes are cheaper than others, whether the cost was raised or lowered since.
  const workOfVerifying = async () => Math.max(cost, (await options.dearestCost?.()) ?? 0)

  /** @throws AuthError `overloaded` */
  async function hash(password: string, asker = server): Promise<HashedPassword> {
    return { passwordHash: await run<string>('hash', { password, cost }, asker), passwordScheme: scheme }
  }

  return {
    hash,

    /**
     * Call this before anything else is done for a request that needs a hash.
     * @throws AuthError `overloaded` if the queue is full and no other job would give way
     */
    refuseIfFull(asker = server): void {
      if (queue.isFullFor(jobOf(asker))) throw new AuthError('overloaded')
    },

    /**
     * Says why a password is not good enough for an account, without a word of it; undefined where it will do.
     * Its length, and whether attackers would try it early (password-judge.js); no composition rules.
     * @throws AuthError `overloaded`
     */
    async problem(password: string, email: string, asker = server): Promise<string | undefined> {
      const text = password.normalize('NFC')
      if ([...text].length < minLength) return `must have ${minLength} characters or more`
      const task = { password: text, minLength, context: [...options.context, email] }
      if (await run<boolean>('isPredictable', task, asker))
        return 'is easy to guess: use four or more unrelated words, or let a password manager make one'
      return undefined
    },

    /**
     * Verifies a password with the work of the dearest hash there is. For an account that does not exist, pass
     * undefined: it takes the same time.
     * @throws AuthError `overloaded`
     */
    async verify(password: string, account: Credentials | undefined, asker = server): Promise<boolean> {
      const { passwordHash } = account ?? (await dummy)
      const task = { password, hash: passwordHash, cost: await workOfVerifying() }
      const match = await run<boolean>('verify', task, asker)
      return match && account !== undefined
    },

    /** Whether the hash was made with another cost or scheme than today's. */
    isOutdated(account: Credentials): boolean {
      return account.passwordScheme !== scheme || getRounds(account.passwordHash) !== cost
    },

    /** Passwords being hashed, and waiting for it. */
    load: queue.load,

    async close() {
      await pool.destroy()
    },
  }
}

export type Passwords = ReturnType<typeof createPasswords>

const jobOf = ({ ip, account, knownDevice, gone }: Asker): Job => ({
  flows: [...networksOf(ip), { name: `account ${account}`, shares: 1 }],
  preferred: knownDevice !== undefined,
  gone,
})
