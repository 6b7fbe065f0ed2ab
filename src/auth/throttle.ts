import { createHash } from 'node:crypto'
import type { AttemptStore, CountedAttempt, Limit } from '../store/attempts.ts'
import { AuthError } from './errors.ts'
import { networksOf } from './network.ts'

/** `undefined`: no limit. */
export interface Limits {
  loginAccount: Limit | undefined
  loginAddress: Limit | undefined
  registerAddress: Limit | undefined
}

/** Whose password is guessed, and by whom. */
export interface Guesser {
  /** The account's id; for an address that nobody has, what was typed: both are throttled alike. */
  account: string
  /** A device that has logged in to this account before. */
  knownDevice: string | undefined
  ip: string | undefined
}

type Budget = [key: string, limit: Limit | undefined]

const devicesPerAccount = 5

/**
 * Limits on guessing passwords, by account and by address (OWASP ASVS 6.3.1). An attempt is counted before it costs
 * anything, and what was not a wrong guess is taken back afterwards, so that parallel guesses gain nothing.
 * @param options.atOnce how many passwords may be checked at the same time for one account or address, right ones
 * included: nobody gets the whole hash queue
 */
export function createThrottle({
  attempts,
  limits,
  atOnce,
}: {
  attempts: AttemptStore
  limits: Limits
  atOnce: number
}) {
  const checking = new Map<string, number>()

  /**
   * Runs `work`, which checks a password, if there is room for one more wrong guess. A device that the account knows
   * has a budget of its own, so that whoever keeps failing elsewhere does not lock the owner out.
   * @param work gives undefined for a wrong guess; only that stays counted
   * @throws AuthError `too_many_attempts`, `overloaded`, and what `work` throws
   */
  async function guess<T>(guesser: Guesser, work: () => Promise<T>): Promise<T> {
    const account = digest(guesser.account)
    const byAddress = addressBudgets('login', guesser.ip, limits.loginAddress)
    const giveBack = await take(
      guesser.knownDevice
        ? [
            // Whoever has had the password can have made many devices, so together they have a limit too.
            [`login-devices:${account}`, multiple(limits.loginAccount, devicesPerAccount)],
            [`login-device:${guesser.knownDevice}`, limits.loginAccount],
          ]
        : [...byAddress, [`login-account:${account}`, limits.loginAccount]],
    )
    try {
      const result = await withinShare([account, ...byAddress.map(([key]) => key)], work)
      if (result !== undefined) await giveBack()
      return result
    } catch (error) {
      const back = giveBack()
      if (!(error instanceof AuthError && error.code === 'unavailable')) await back
      throw error
    }
  }

  async function withinShare<T>(keys: string[], work: () => Promise<T>): Promise<T> {
    if (keys.some((key) => (checking.get(key) ?? 0) >= atOnce)) throw new AuthError('overloaded')
    for (const key of keys) checking.set(key, (checking.get(key) ?? 0) + 1)
    try {
      return await work()
    } finally {
      for (const key of keys) {
        const rest = (checking.get(key) ?? 1) - 1
        if (rest > 0) checking.set(key, rest)
        else checking.delete(key)
      }
    }
  }

  /** Counts a registration. @throws AuthError `too_many_attempts` */
  async function registration(ip: string | undefined): Promise<void> {
    await take(addressBudgets('register', ip, limits.registerAddress))
  }

  // One attempt of every budget or, where one of them is used up, of none. The widest first, so that whoever has used
  // up an address makes no rows for accounts.
  async function take(budgets: Budget[]): Promise<() => Promise<void>> {
    const counted: CountedAttempt[] = []
    // Where it fails the count ends with its window. No answer is worth less for it, or waits for a lost database.
    const giveBack = async () => {
      await Promise.allSettled(counted.splice(0).map(attempts.takeBack))
    }
    for (const [key, limit] of budgets) {
      if (!limit) continue
      const result = await attempts.count(key, limit)
      if ('retryAfterSeconds' in result) {
        await giveBack()
        throw new AuthError('too_many_attempts', result)
      }
      counted.push(result)
    }
    return giveBack
  }

  return { guess, registration }
}

export type Throttle = ReturnType<typeof createThrottle>

const multiple = (limit: Limit | undefined, times: number) =>
  limit && { ...limit, attempts: limit.attempts * times }

const addressBudgets = (name: string, ip: string | undefined, limit: Limit | undefined): Budget[] =>
  networksOf(ip).map((network) => [`${name}-address:${network.name}`, multiple(limit, network.shares)])

// Of fixed length, whatever was typed, and no e-mail address where people look for numbers.
const digest = (text: string) => createHash('sha256').update(text).digest('base64url')
