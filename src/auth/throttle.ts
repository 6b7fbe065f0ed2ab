import { createHash } from 'node:crypto'
import { AuthError, ifPossible } from '../errors.ts'
import { networksOf } from '../network.ts'
import type { AttemptStore, CountedAttempt, Limit } from '../store/attempts.ts'
import type { Caller } from '../store/audit.ts'
import type { LinkPurpose } from '../store/schema.ts'

/** Undefined means no limit. */
export interface Limits {
  loginAccount: Limit | undefined
  loginAddress: Limit | undefined
  registerAddress: Limit | undefined
  /** Requests that may send mail. */
  mailAddress: Limit | undefined
  /** Mails of a purpose that strangers can cause. */
  mailRecipient: Limit | undefined
}

/** The account whose password is guessed, and the client that guesses. */
export interface Guesser extends Caller {
  /** The account's id, or the e-mail address that was typed if there is no account. Both are throttled alike. */
  account: string
  /** For the audit, which does not contain what was typed. */
  userId: string | undefined
  /** The id of a device that has logged in to this account before. */
  knownDevice: string | undefined
  /** The session of this account that asks to change the password, or to reauthenticate. */
  session?: string | undefined
  /** A link resets the password. Failed logins of the account do not prevent that, or strangers could. */
  byLink?: boolean
}

/** The limit on attempts `of` an account, a device or a network. */
interface Budget {
  name: string
  of: string
  limit: Limit | undefined
}

const devicesPerAccount = 5
const loginsPerFailure = 10

/**
 * Limits guesses of passwords, by account and by network address (OWASP ASVS 6.3.1). Counts an attempt before the
 * hashing, and takes it back if the guess was right. So parallel guesses gain nothing. A network address also has a
 * budget for all logins, which are not taken back, because right passwords cost as much work as wrong ones.
 */
export function createThrottle({
  attempts,
  limits,
  addressDigest,
}: {
  attempts: AttemptStore
  limits: Limits
  /** Returns an HMAC, so that the table does not show which addresses get mail. */
  addressDigest: (email: string) => string
}) {
  /**
   * Runs `work`, which checks a password, if the budgets allow one more login and one more wrong guess. A known device
   * has a budget of its own, and so has a session. So wrong guesses from elsewhere do not lock the owner out.
   * @param work returns undefined for a wrong guess; other attempts are taken back
   * @returns the result of `work`
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
      else await countFailedLogin(guesser)
      return result
    } catch (error) {
      const code = error instanceof AuthError ? error.code : undefined
      // A full queue costs no work.
      const back = Promise.all([giveBackGuess(), code === 'overloaded' && giveBackLogin()])
      // Without the database, giving back takes until a time-out. Do not delay the response.
      if (code !== 'unavailable') await back
      throw error
    }
  }

  const allLogins = ({ ip }: Guesser) =>
    addressBudgets('all-logins-address', ip, multiple(limits.loginAddress, loginsPerFailure))

  // A wrong guess by a session or a link also counts as a wrong guess at login, unless strangers have used up that budget.
  // That must not prevent the owner from changing the password.
  async function countFailedLogin(guesser: Guesser): Promise<void> {
    const { account, session, byLink } = guesser
    if (byLink) await ifPossible(take([failedLogins(account)], guesser))
    else if (session && limits.loginAccount)
      await ifPossible(take(wrongGuesses({ ...guesser, session: undefined }), guesser))
  }

  function wrongGuesses({ account, knownDevice, session, byLink, ip }: Guesser): Budget[] {
    const of = digest(account)
    const limit = limits.loginAccount
    if (byLink) return addressBudgets('login-address', ip, limits.loginAddress)
    if (limit && session) return [{ name: 'login-session', of: session, limit }]
    if (limit && knownDevice)
      return [
        // An attacker who once had the password may have made many devices, so all devices share a limit too.
        { name: 'login-devices', of, limit: multiple(limit, devicesPerAccount) },
        { name: 'login-device', of: knownDevice, limit },
      ]
    return [...addressBudgets('login-address', ip, limits.loginAddress), failedLogins(account)]
  }

  const failedLogins = (account: string): Budget => ({
    name: 'login-account',
    of: digest(account),
    limit: limits.loginAccount,
  })

  /** Counts a registration. @throws AuthError `too_many_attempts` */
  const registration = (caller: Caller): Promise<unknown> =>
    take(addressBudgets('register-address', caller.ip, limits.registerAddress), caller)

  /**
   * Counts a request that may send mail, whatever its outcome. Call it after the checks of the body.
   * @throws AuthError `too_many_attempts`
   */
  const mailRequest = (caller: Caller): Promise<unknown> =>
    take(addressBudgets('mail-address', caller.ip, limits.mailAddress), caller)

  /**
   * Counts a mail that strangers can cause. Call it for every address alike, before the transaction that makes the link.
   * @param purpose what the link in the mail does; a mail that says that an address is taken counts as the other one
   * @returns whether the mail may be sent; if not, make no link either, and give the same answer
   */
  async function mayMail(email: string, purpose: LinkPurpose, { ip, userAgent }: Caller): Promise<boolean> {
    const limit = limits.mailRecipient
    if (!limit) return true
    const event = { event: 'throttled', reason: 'mail-recipient', ip, userAgent } as const
    const key = `mail-recipient:${purpose}:${addressDigest(email)}`
    return !('retryAfterSeconds' in (await attempts.count(key, limit, event)))
  }

  // Takes an attempt from every budget, or from none if one is used up. Begins with the widest network. So a client
  // whose network has used up its budget cannot create rows for accounts.
  async function take(budgets: Budget[], by: Caller & { userId?: string | undefined }) {
    const counted: CountedAttempt[] = []
    // If this fails, the count ends with its window. So the response does not depend on it.
    const giveBack = () => Promise.allSettled(counted.splice(0).map(attempts.takeBack))
    const { ip, userAgent, userId } = by
    for (const { name, of, limit } of budgets) {
      if (!limit) continue
      const reason = name.endsWith('-address') ? `${name} ${of}` : name
      const event = { event: 'throttled', reason, userId, ip, userAgent } as const
      const result = await attempts.count(keyOf(name, of), limit, event)
      if ('retryAfterSeconds' in result) {
        await giveBack()
        throw new AuthError('too_many_attempts', result)
      }
      counted.push(result)
    }
    return giveBack
  }

  /** Returns the keys that count the failed logins of an account, for a transaction that clears them. */
  const failedLoginKeys = (userId: string) =>
    ['login-account', 'login-devices'].map((name) => keyOf(name, digest(userId)))

  return { guess, registration, mailRequest, mayMail, failedLoginKeys }
}

const keyOf = (name: string, of: string) => `${name}:${of}`

export type Throttle = ReturnType<typeof createThrottle>

const multiple = (limit: Limit | undefined, times: number) =>
  limit && { ...limit, attempts: limit.attempts * times }

const addressBudgets = (name: string, ip: string | undefined, limit: Limit | undefined): Budget[] =>
  networksOf(ip).map((network) => ({ name, of: network.name, limit: multiple(limit, network.shares) }))

// A digest has a fixed length, and keeps e-mail addresses out of the table.
const digest = (text: string) => createHash('sha256').update(text).digest('base64url')
