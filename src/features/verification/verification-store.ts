import { eq, sql } from 'drizzle-orm'
import type { HashedPassword } from '../../auth/password.ts'
import { AuthError } from '../../errors.ts'
import { originOf } from '../../mail/origin.ts'
import { type Caller, recordEvents } from '../../store/audit.ts'
import type { Database, Queries } from '../../store/database.ts'
import {
  createLink,
  endRegistrations,
  isReserved,
  type Link,
  type OwnLink,
  useLink,
} from '../../store/links.ts'
import { queueMail } from '../../store/outbox.ts'
import { users } from '../../store/schema.ts'
import { type LinkAsker, lockAccount, lockAsker, useOwnLink } from '../../store/users.ts'

declare module '../../store/schema.ts' {
  interface FeatureEvents {
    registration_requested: true
    email_verified: true
  }
}

const linkSeconds = 24 * 60 * 60

/** Verification of e-mail addresses in PostgreSQL. All functions throw AuthError `unavailable` if it is unavailable. */
export function createVerificationStore({
  database,
  accountUrl,
}: {
  database: Database
  accountUrl: string
}) {
  /** Mails a link that verifies the address of an account. The row of the account must be locked. */
  async function queueLink(tx: Queries, userId: string, email: string, from: Caller): Promise<void> {
    const link = await createLink(tx, { purpose: 'verify', userId, email, seconds: linkSeconds })
    const params = originOf(from)
    await queueMail(tx, { template: 'verify-address', recipient: email, userId, params, link })
  }

  const markVerified = (tx: Queries, userId: string) =>
    tx.update(users).set({ emailVerifiedAt: sql`now()` }).where(eq(users.id, userId))

  return {
    queueLink,

    /**
     * Mails a new link to a user. The older one ends.
     * @throws AuthError `session_ended`, `already_verified`
     */
    requestLink(asker: LinkAsker, from: Caller): Promise<void> {
      return database.transaction(async (tx) => {
        const account = await lockAsker(tx, asker)
        if (account.emailVerifiedAt) throw new AuthError('already_verified')
        await queueLink(tx, account.id, account.email, from)
      })
    },

    /** Uses the link up, and marks the address of its account as verified. @throws AuthError `link_invalid` */
    verify(link: OwnLink, { ip, userAgent }: Caller): Promise<void> {
      return database.transaction(async (tx) => {
        const { id: userId } = await useOwnLink(tx, link)
        await markVerified(tx, userId)
        await recordEvents(tx, [{ event: 'email_verified', userId, ip, userAgent }])
      })
    },

    /**
     * Mails a link that creates an account. If the address has an account, tells its owner instead. For an address that
     * gets no mail, the transaction does the same work.
     * @param mayMail whether the limit of the address has room
     */
    requestAccount(
      email: string,
      hashed: HashedPassword,
      mayMail: boolean,
      { ip, userAgent }: Caller,
    ): Promise<void> {
      return database.transaction(async (tx) => {
        const account = await lockAccount(tx, { email })
        const isNew = !(await isReserved(tx, email)) && mayMail && !account
        const owner = mayMail && account && !account.disabledAt ? account : undefined
        const link = await createLink(tx, {
          purpose: 'register',
          email: isNew ? email : '',
          ...(isNew && hashed),
          seconds: linkSeconds,
        })
        const params = { ...originOf({ ip, userAgent }), accountUrl }
        await queueMail(tx, {
          template: owner ? 'already-registered' : 'confirm-registration',
          recipient: owner || isNew ? email : undefined,
          userId: owner?.id,
          params,
          link, // Also in the mail that does not show it. Otherwise the missing reference would save time.
        })
        await recordEvents(tx, [{ event: 'registration_requested', userId: account?.id, ip, userAgent }])
      })
    },

    /**
     * Uses the link up, in the transaction that creates its account. Other links that would create it end.
     * @throws AuthError `link_invalid`
     */
    async confirm(tx: Queries, { id, email }: Link, userId: string): Promise<void> {
      if (!(await useLink(tx, id, 'register'))) throw new AuthError('link_invalid')
      await endRegistrations(tx, email)
      await markVerified(tx, userId)
    },
  }
}

export type VerificationStore = ReturnType<typeof createVerificationStore>
