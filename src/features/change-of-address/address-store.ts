import { eq, sql } from 'drizzle-orm'
import type { HashedPassword } from '../../auth/password.ts'
import { AuthError, codeOf } from '../../errors.ts'
import { originOf } from '../../mail/origin.ts'
import { type Caller, recordEvents } from '../../store/audit.ts'
import type { Database } from '../../store/database.ts'
import { createLink, endLinksAfter, isReserved, type OwnLink } from '../../store/links.ts'
import { queueMail, sendWithoutLinks } from '../../store/outbox.ts'
import { users } from '../../store/schema.ts'
import { endAllSessions } from '../../store/sessions.ts'
import { type LinkAsker, lockAsker, useOwnLink } from '../../store/users.ts'

declare module '../../store/schema.ts' {
  interface FeatureEvents {
    email_change_requested: true
    email_changed: true
    email_change_undone: true
  }
}

/** See docs/decisions/023-change-of-address.md. */
const lifetimes = { email: 24 * 60 * 60, undo: 72 * 60 * 60, reset: 30 * 60 }

/** Changes of addresses in PostgreSQL. All functions throw AuthError `unavailable` if it is unavailable. */
export function createAddressStore({ database }: { database: Database }) {
  return {
    /**
     * Mails a link that changes the address of an account, and tells the present address. If the new address is taken,
     * tells its owner instead. The transaction does the same work for every address. The older link ends.
     * @param mayMail whether the limit of the new address has room
     * @throws AuthError `session_ended`
     */
    request(asker: LinkAsker, email: string, mayMail: boolean, from: Caller): Promise<void> {
      const { userId } = asker
      return database.transaction(async (tx) => {
        const account = await lockAsker(tx, asker)
        const isOwn = account.email === email
        const params = originOf(from)
        await recordEvents(tx, [{ event: 'email_change_requested', ...asker, ...from }])
        const notified = isOwn ? undefined : account.email
        await queueMail(tx, { template: 'change-requested', recipient: notified, userId, params })
        const [owner] = await tx.select().from(users).where(eq(users.email, email))
        const isFree = !(await isReserved(tx, email)) && mayMail && !owner
        const told = mayMail && !isOwn && !owner?.disabledAt ? owner : undefined
        // The link replaces the older one, also if it is not sent. Otherwise the older link would tell whether the new
        // address is taken. Beyond the limit the link is a decoy, and replaces none.
        const of = mayMail ? { userId, email } : { email: '' }
        const link = await createLink(tx, { purpose: 'email', ...of, seconds: lifetimes.email })
        await queueMail(tx, {
          template: isFree ? 'confirm-address' : 'address-taken',
          recipient: isFree ? email : told?.email,
          userId: told?.id ?? userId,
          params,
          link, // Also in the mail that does not show it. Otherwise the missing reference would save time.
        })
      })
    },

    /**
     * Uses the link up, and gives its address to the account. Ends the other sessions of the user.
     * @param confirming the session that goes on, if there is one
     * @throws AuthError `link_invalid`, without a change, also if the address is taken now
     */
    confirm(link: OwnLink, confirming: string | undefined, from: Caller): Promise<void> {
      const { userId } = link
      const change = database.transaction(async (tx) => {
        const { email, emailVerifiedAt } = await useOwnLink(tx, link)
        const address = { email: link.email, emailVerifiedAt: sql`now()` }
        await endAllSessions(tx, userId, 'email_changed', from, address, confirming)
        // Look after the update. It may have waited for another change that reserves the address.
        if (await isReserved(tx, link.email)) throw new AuthError('link_invalid')
        await recordEvents(tx, [{ event: 'email_changed', userId, sessionId: confirming, ...from }])
        const former = { userId, email, requestedAt: link.createdAt, seconds: lifetimes.undo }
        const undo = emailVerifiedAt ? await createLink(tx, { purpose: 'undo', ...former }) : undefined
        const params = originOf(from)
        await queueMail(tx, { template: 'address-changed', recipient: email, userId, params, link: undo })
      })
      return unlessTaken(change)
    },

    /**
     * Uses the link up, and gives the former address back. Ends all sessions of the user and all later links.
     * @param unusable a password that nothing knows; a link to choose another one is mailed
     * @throws AuthError `link_invalid`, without a change
     */
    undo(undoing: OwnLink, unusable: HashedPassword, from: Caller): Promise<void> {
      const { id, userId, email } = undoing
      const change = database.transaction(async (tx) => {
        const account = await useOwnLink(tx, undoing)
        await sendWithoutLinks(tx, await endLinksAfter(tx, id, 'undo'))
        const address = { email, emailVerifiedAt: sql`now()` }
        await endAllSessions(tx, userId, 'email_changed', from, { ...address, ...unusable })
        await recordEvents(tx, [{ event: 'email_change_undone', userId, ...from }])
        const params = originOf(from)
        const link = await createLink(tx, { purpose: 'reset', userId, email, seconds: lifetimes.reset })
        await queueMail(tx, { template: 'address-restored', recipient: email, userId, params, link })
        // A thief may read this mail. So it does not tell where the owner is.
        await queueMail(tx, { template: 'change-undone', recipient: account.email, userId, params: {} })
      })
      return unlessTaken(change)
    },
  }
}

// Another account may have taken the address since the link was made, or at this moment.
async function unlessTaken(change: Promise<void>): Promise<void> {
  await change.catch((error) => {
    throw codeOf(error) === uniqueViolation ? new AuthError('link_invalid') : error
  })
}

const uniqueViolation = '23505'

export type AddressStore = ReturnType<typeof createAddressStore>
