import { createHash } from 'node:crypto'
import ipaddr from 'ipaddr.js'
import type { AttemptStore, CountedAttempt, Limit } from '../store/attempts.ts'
import { AuthError, type ErrorCode } from './errors.ts'

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

const wrongGuesses: unknown[] = ['invalid_credentials', 'wrong_password'] satisfies ErrorCode[]
const networksPerSite = 4

/**
 * Limits on guessing passwords, by account and by address (OWASP ASVS 6.3.1). An attempt is counted before it costs
 * anything, and what was not a wrong guess is taken back afterwards, so that parallel guesses gain nothing.
 */
export function createThrottle({ attempts, limits }: { attempts: AttemptStore; limits: Limits }) {
  /**
   * Runs `work`, which checks a password, if there is room for one more wrong guess. A device that the account knows
   * has a budget of its own and no other, so that whoever keeps failing elsewhere does not lock the owner out.
   * @throws AuthError `too_many_attempts`, and what `work` throws
   */
  async function guess<T>({ account, knownDevice, ip }: Guesser, work: () => Promise<T>): Promise<T> {
    const giveBack = await take(
      knownDevice
        ? [[`login-device:${knownDevice}`, limits.loginAccount]]
        : [
            ...addressBudgets('login', ip, limits.loginAddress),
            [`login-account:${digest(account)}`, limits.loginAccount],
          ],
    )
    try {
      const result = await work()
      await giveBack()
      return result
    } catch (error) {
      const { code } = error as Partial<AuthError>
      if (code === 'unavailable') giveBack()
      else if (!wrongGuesses.includes(code)) await giveBack()
      throw error
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

// Whoever has an IPv6 address has a network of them: a /64 at least, often a /56. An IPv4 address counts as itself,
// also where it is written as IPv6.
function addressBudgets(name: string, ip: string | undefined, limit: Limit | undefined): Budget[] {
  if (!limit) return []
  if (!ip || !ipaddr.isValid(ip)) return [[`${name}-address:unknown`, limit]]
  const address = ipaddr.process(ip)
  if (address.kind() === 'ipv4') return [[`${name}-address:${address}`, limit]]
  const network = (bits: number) => ipaddr.IPv6.networkAddressFromCIDR(`${address}/${bits}`)
  const siteLimit = { ...limit, attempts: limit.attempts * networksPerSite }
  return [
    [`${name}-address:${network(56)}/56`, siteLimit],
    [`${name}-address:${network(64)}/64`, limit],
  ]
}

// Of fixed length, whatever was typed, and no e-mail address where people look for numbers.
const digest = (text: string) => createHash('sha256').update(text).digest('base64url')
