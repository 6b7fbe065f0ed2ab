import { sql } from 'drizzle-orm'
import type { Notify } from '../../auth/notify.ts'
import type { HashedPassword } from '../../auth/password.ts'
import { originOf } from '../../mail/origin.ts'
import { clearAttempts } from '../../store/attempts.ts'
import { type Caller, recordEvents } from '../../store/audit.ts'
import type { Database } from '../../store/database.ts'
import { createLink, type OwnLink } from '../../store/links.ts'
import { queueMail } from '../../store/outbox.ts'
import { users } from '../../store/schema.ts'
import { endAllSessions } from '../../store/sessions.ts'
import { lockAccount, useOwnLink } from '../../store/users.ts'

declare module '../../store/schema.ts' {
  interface FeatureEvents {
    password_reset_requested: true
    password_reset: true
    password_reset_failed: true
  }
}

/** See docs/decisions/022-verification-and-reset.md. */
const linkSeconds = 30 * 60

/** Resets of passwords in PostgreSQL. All functions throw AuthError `unavailable` if it is unavailable. */
export function createResetStore({ database, notify }: { database: Database; notify: Notify }) {
  return {
    /**
     * Mails a link to the owner of an address. For an address that gets none, the transaction does the same work.
     * @param mayMail whether the limit of the address has room
     */
    request(email: string, mayMail: boolean, { ip, userAgent }: Caller): Promise<void> {
      return database.transaction(async (tx) => {
        const account = await lockAccount(tx, { email })
        const owner = mayMail && account && !account.disabledAt ? account : undefined
        const link = await createLink(tx, {
          purpose: 'reset',
          userId: owner?.id,
          email: owner?.email ?? '',
          seconds: linkSeconds,
        })
        await queueMail(tx, {
          template: 'reset-password',
          recipient: owner?.email,
          userId: owner?.id,
          params: originOf({ ip, userAgent }),
          link,
        })
        await recordEvents(tx, [{ event: 'password_reset_requested', userId: owner?.id, ip, userAgent }])
      })
    },

    /**
     * Uses the link up and changes the password. Ends all sessions of the user. The link reached the mailbox, so the
     * address counts as verified.
     * @param failedLogins the keys of the counts that end
     * @throws AuthError `link_invalid`, without a change
     */
    reset(link: OwnLink, hashed: HashedPassword, failedLogins: string[], from: Caller): Promise<void> {
      return database.transaction(async (tx) => {
        const account = await useOwnLink(tx, link)
        const userId = account.id
        const emailVerifiedAt = sql`coalesce(${users.emailVerifiedAt}, now())`
        await endAllSessions(tx, userId, 'password_changed', from, { ...hashed, emailVerifiedAt })
        await clearAttempts(tx, failedLogins)
        await recordEvents(tx, [{ event: 'password_reset', userId, ip: from.ip, userAgent: from.userAgent }])
        await notify(tx, { kind: 'password_reset', user: account, from })
      })
    },
  }
}

export type ResetStore = ReturnType<typeof createResetStore>
