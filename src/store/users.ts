import { and, eq, isNull, sql } from 'drizzle-orm'
import { AuthError } from '../errors.ts'
import type { Database, Queries } from './database.ts'
import { isReserved, type OwnLink, useLink } from './links.ts'
import { sessions, users } from './schema.ts'

/** A user, as clients see it. */
export interface User {
  id: string
  email: string
  role: string
  emailVerifiedAt: Date | null
  createdAt: Date
}

/** What a login needs to know. `epoch` counts how often all sessions of the user ended at once. */
export interface Credentials {
  userId: string
  passwordHash: string
  passwordScheme: number
  disabled: boolean
  epoch: number
}

export const userColumns = {
  id: users.id,
  email: users.email,
  role: users.role,
  emailVerifiedAt: users.emailVerifiedAt,
  createdAt: users.createdAt,
}

/**
 * Locks the row of a user. Transactions that change an account or make a link for it do this first, so that they take
 * turns. Otherwise a link could be made during a change that withdraws the links.
 * @returns the row; undefined if there is no such user
 */
export async function lockAccount(tx: Queries, by: { id: string } | { email: string }) {
  const which = 'id' in by ? eq(users.id, by.id) : eq(users.email, by.email)
  const [account] = await tx.select().from(users).where(which).for('update')
  return account
}

/** The session that asks for a link, and its user. */
export interface LinkAsker {
  userId: string
  sessionId: string
}

/**
 * Locks the row of the user whose session asks for a link. Otherwise a link could be made after the end of all sessions,
 * which withdraws the links of that time.
 * @throws AuthError `session_ended` if the session has ended since its check, or its user is disabled
 */
export async function lockAsker(tx: Queries, { userId, sessionId }: LinkAsker) {
  const account = await lockAccount(tx, { id: userId })
  const which = and(eq(sessions.id, sessionId), isNull(sessions.endedAt))
  const [session] = await tx.select({ id: sessions.id }).from(sessions).where(which)
  if (!account || account.disabledAt || !session) throw new AuthError('session_ended')
  return account
}

/**
 * Uses a link up, and locks the row of its account.
 * @returns the row
 * @throws AuthError `link_invalid` if the link is not live, if the account is disabled or deleted, or if a link that
 * went to the address of the account finds another one there
 */
export async function useOwnLink(tx: Queries, { id, userId, email, purpose }: OwnLink) {
  const account = await lockAccount(tx, { id: userId })
  const isOwn = account?.email === email || purpose === 'email' || purpose === 'undo'
  if (!account || account.disabledAt || !isOwn || !(await useLink(tx, id, purpose)))
    throw new AuthError('link_invalid')
  return account
}

/** No user has this id. */
const noUser = '00000000-0000-0000-0000-000000000000'

/** Stores users. All functions throw AuthError `unavailable` if the database is unavailable. */
export function createUserStore({ database }: { database: Database }) {
  async function findCredentials(which: ReturnType<typeof eq>): Promise<Credentials | undefined> {
    const [user] = await database.run((queries) => queries.select().from(users).where(which))
    return (
      user && {
        userId: user.id,
        passwordHash: user.passwordHash,
        passwordScheme: user.passwordScheme,
        disabled: user.disabledAt !== null,
        epoch: user.sessionEpoch,
      }
    )
  }

  return {
    credentialsByEmail: (email: string) => findCredentials(eq(users.email, email)),
    /** Without an id, takes the same time and finds no user. */
    credentialsById: (id = noUser) => findCredentials(eq(users.id, id)),

    /** Returns whether an e-mail address has an account, or is reserved for its former owner. Does the same work for both. */
    async isTaken(email: string): Promise<boolean> {
      const owner = await findCredentials(eq(users.email, email))
      const reserved = await database.run((queries) => isReserved(queries, email))
      return owner !== undefined || reserved
    },

    /**
     * Returns the highest cost of all hashes, as a power of two, or 0 if there is none. Reads one entry of an index.
     */
    async highestCost(): Promise<number> {
      const cost = sql<string>`max(substring(${users.passwordHash} FROM 5 FOR 2))`
      const [row] = await database.run((queries) => queries.select({ cost }).from(users))
      return Number(row?.cost ?? 0)
    },

    /** Stores a new hash of the same password, unless the password has changed in the meantime. */
    async rehash(userId: string, from: string, to: { passwordHash: string; passwordScheme: number }) {
      const unchanged = and(eq(users.id, userId), eq(users.passwordHash, from))
      await database.run((queries) => queries.update(users).set(to).where(unchanged))
    },
  }
}

export type UserStore = ReturnType<typeof createUserStore>
