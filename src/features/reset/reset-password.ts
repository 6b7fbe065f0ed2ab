import type { Device } from '../../auth/device.ts'
import type { GuessDeps } from '../../auth/guess.ts'
import type { OpenLink } from '../../auth/open-link.ts'
import { AuthError } from '../../errors.ts'
import type { ResetStore } from './reset-store.ts'

export function createResetPassword(deps: GuessDeps & { openLink: OpenLink; resets: ResetStore }) {
  const { passwords, throttle } = deps

  /**
   * Sets a new password for the account of a link, and starts no session. A new password that is the current one counts
   * as a failed login, because it may be a guess by a reader of the mailbox.
   * @throws AuthError `too_many_attempts`, `link_invalid`, `password_rejected`, `overloaded`, `unavailable`
   */
  return async function resetPassword(token: string, newPassword: string, device: Device): Promise<void> {
    passwords.refuseIfFull({ ...device, account: token, knownDevice: undefined })
    const link = await deps.openLink(token, 'reset')
    const account = await deps.users.credentialsById(link?.userId ?? undefined)
    const userId = account?.userId
    const guesser = { ...device, account: userId ?? token, userId, knownDevice: undefined, byLink: true }

    const done = await throttle.guess(guesser, async () => {
      if (!link || !account || account.disabled) throw new AuthError('link_invalid')
      const message = await passwords.problem(newPassword, link.email, guesser)
      if (message) throw rejected(message)
      if (await passwords.verify(newPassword, account, guesser)) return undefined
      const hashed = await passwords.hash(newPassword, guesser)
      const { userId } = account
      await deps.resets.reset({ ...link, userId }, hashed, throttle.failedLoginKeys(userId), device)
      return true
    })
    if (done) return
    const { ip, userAgent } = device
    await deps.audit.record({ event: 'password_reset_failed', userId, ip, userAgent })
    throw rejected('is the current one. Choose another one')
  }
}

const rejected = (message: string) =>
  new AuthError('password_rejected', { errors: [{ path: 'newPassword', message }] })

export type ResetPassword = ReturnType<typeof createResetPassword>
