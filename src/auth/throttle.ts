import { createHash } from 'node:crypto'
import { AuthError, ifPossible } from '../errors.ts'
import { networksOf } from '../network.ts'
import type { AttemptStore, CountedAttempt, Limit } from '../store/attempts.ts'
import type { Caller } from '../store/audit.ts'

/** `undefined`: no limit. */
export interface Limits {
  loginAccount: Limit | undefined
  loginAddress: Limit | undefined
  registerAddress: Limit | undefined
}

/** Whose password is guessed, and by whom. */
export interface Guesser extends Caller {
  /** The account's id, or what was typed if there is no account: both are throttled alike. */
  account: string
  /** For the audit, which does not have what was typed. */
  userId: string | undefined
  /** A device that has logged in to this account before. */
  knownDevice: string | undefined
  /** A session of this account that asks to change the password. */
  session?: string | undefined
}

/** How many attempts there may be `of` an account, a device or a network. */
interface Budget {
  name: string
  of: string
  limit: Limit | undefined
}

const devicesPerAccount = 5
const loginsPerFailure = 10

/**
 * Limits on guessing passwords, by account and by address (OWASP ASVS 6.3.1). An attempt is counted before it costs
 * anything, and what was not a wrong guess is taken back afterwards, so that parallel guesses gain nothing. What it
 * costs is not taken back: right passwords take as much work as wrong ones, so an address has a budget of all logins.
 */
export function createThrottle({ attempts, limits }: { attempts: AttemptStore; limits: Limits }) {
  /**
   * Runs `work`, which checks a password, if there is room for one more login and one more wrong guess. A device that
   * the account knows has a budget of its own, and so has a session, so that whoever keeps failing elsewhere does not
   * lock the owner out.
   * @param work gives undefined for a wrong guess; only that stays counted as one
   * @throws AuthError `too_many_attempts`, and what `work` throws
   */
  async function guess<T>(guesser: Guesser, work: () => Promise<T>): Promise<T> {
    const giveBackLogin = await take(allLogins(guesser), guesser)
    const giveBackGuess = await take(wrongGuesses(guesser), guesser).catch(async (error) => {
      await giveBackLogin()
      throw error
    })
    try {
      const result = await work()
      if (result !== undefined) await giveBackGuess()
      else if (guesser.session && limits.loginAccount) await countFailedLogin(guesser)
      return result
    } catch (error) {
      const code = error instanceof AuthError ? error.code : undefined
      // A full queue has cost nothing.
      const back = Promise.all([giveBackGuess(), code === 'overloaded' && giveBackLogin()])
      if (code !== 'unavailable') await back
      throw error
    }
  }

  const allLogins = ({ ip }: Guesser) =>
    addressBudgets('all-logins-address', ip, multiple(limits.loginAddress, loginsPerFailure))

  // A wrong guess of a session counts as a failed login too, if there is room. Strangers may have used up the room, and
  // must not keep a user who is logged in from changing the password.
  async function countFailedLogin(guesser: Guesser): Promise<void> {
    await ifPossible(take(wrongGuesses({ ...guesser, session: undefined }), guesser))
  }

  function wrongGuesses({ account, knownDevice, session, ip }: Guesser): Budget[] {
    const of = digest(account)
    const limit = limits.loginAccount
    if (limit && session) return [{ name: 'login-session', of: session, limit }]
    if (limit && knownDevice)
      return [
        // Whoever has had the password can have made many devices, so together they have a limit too.
        { name: 'login-devices', of, limit: multiple(limit, devicesPerAccount) },
        { name: 'login-device', of: knownDevice, limit },
      ]
    return [...addressBudgets('login-address', ip, limits.loginAddress), { name: 'login-account', of, limit }]
  }

  /** Counts a registration. @throws AuthError `too_many_attempts` */
  async function registration(caller: Caller): Promise<void> {
    await take(addressBudgets('register-address', caller.ip, limits.registerAddress), caller)
  }

  // One attempt of every budget or, where one of them is used up, of none. The widest first, so that whoever has used
  // up an address makes no rows for accounts.
  async function take(budgets: Budget[], by: Caller & { userId?: string | undefined }) {
    const counted: CountedAttempt[] = []
    // Where it fails the count ends with its window. No answer is worth less for it, or waits for a lost database.
    const giveBack = async () => {
      await Promise.allSettled(counted.splice(0).map(attempts.takeBack))
    }
    const { ip, userAgent, userId } = by
    for (const { name, of, limit } of budgets) {
      if (!limit) continue
      const reason = name.endsWith('-address') ? `${name} ${of}` : name
      const event = { event: 'throttled', reason, userId, ip, userAgent } as const
      const result = await attempts.count(`${name}:${of}`, limit, event)
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
  networksOf(ip).map((network) => ({ name, of: network.name, limit: multiple(limit, network.shares) }))

// Of fixed length, whatever was typed, and no e-mail address where people look for numbers.
const digest = (text: string) => createHash('sha256').update(text).digest('base64url')
