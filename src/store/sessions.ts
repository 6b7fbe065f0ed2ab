import { and, asc, desc, eq, gt, inArray, isNull, ne, or, type SQL, sql } from 'drizzle-orm'
import type { PgUpdateSetSource } from 'drizzle-orm/pg-core'
import { AuthError, codeOf } from '../errors.ts'
import { type Caller, recordEvents } from './audit.ts'
import type { Database, Queries } from './database.ts'
import { isReserved } from './links.ts'
import { type AuthenticationMethod, type EndReason, sessions, users } from './schema.ts'
import { type User, userColumns } from './users.ts'

/** One login on one device. */
export interface Session {
  id: string
  userId: string
  generation: number
  rotatedAt: Date
  createdAt: Date
  /** When and how the user last proved their identity. */
  authenticatedAt: Date
  amr: AuthenticationMethod[]
  /** When it ends if it is not refreshed: the idle timeout, or the absolute timeout if that is sooner. */
  usableUntil: Date
  userAgent: string | null
  ip: string | null
}

/** What a refresh token says: its session and its generation. */
export interface RefreshClaims {
  userId: string
  sessionId: string
  generation: number
  /** When the token expires, in seconds since 1970. */
  expiresAt: number
}

/** A session that starts. */
export interface NewSession extends Caller {
  id: string
  /** The session that this one replaces, because its cookie was presented. */
  replaces: string | undefined
  /** How the user proved their identity. */
  amr: AuthenticationMethod[]
  /** When they did. By default it is the time when the session starts, by the database's clock. */
  authenticatedAt?: Date | undefined
}

/**
 * A session with its user, and the database's time, because only the database's clock decides when a session ends.
 * `epoch` counts how often all sessions of the user ended at once.
 */
export interface SessionState {
  session: Session
  user: User
  epoch: number
  now: Date
}

/** What else happens in the transaction that starts a session. */
export type Also = (tx: Queries, started: SessionState) => Promise<void>

export interface SessionLimits {
  idleSeconds: number
  absoluteSeconds: number
  graceSeconds: number
  perUser: number
}

const seconds = (count: number) => sql`make_interval(secs => ${count})`

/** Stores sessions. All functions throw AuthError `unavailable` if the database is unavailable. */
export function createSessionStore({ database, limits }: { database: Database; limits: SessionLimits }) {
  const usableUntil = sql`least(${sessions.rotatedAt} + ${seconds(limits.idleSeconds)}, ${sessions.expiresAt})`
  /** The session has not ended, and no timeout has passed. */
  const live = and(isNull(sessions.endedAt), gt(usableUntil, sql`now()`)) as SQL
  /** The session is live, and its user is not disabled. */
  const liveWithUser = and(live, isNull(users.disabledAt)) as SQL

  const columns = {
    id: sessions.id,
    userId: sessions.userId,
    generation: sessions.generation,
    rotatedAt: sessions.rotatedAt,
    createdAt: sessions.createdAt,
    authenticatedAt: sessions.authenticatedAt,
    amr: sessions.amr,
    usableUntil: sql<Date>`${usableUntil}`.mapWith(sessions.expiresAt).as('usable_until'),
    userAgent: sessions.userAgent,
    ip: sessions.ip,
  }
  const state = {
    session: columns,
    user: userColumns,
    epoch: users.sessionEpoch,
    now: sql<Date>`now()`.mapWith(sessions.createdAt).as('now'),
  }

  const own = (id: string, userId: string) => and(eq(sessions.id, id), eq(sessions.userId, userId))

  return {
    /**
     * Starts a session for a user. Ends the one that it replaces, and the oldest ones above the cap.
     * @param epoch the user's epoch when the password was checked
     * @returns undefined if all sessions ended since then, or if the user was disabled or deleted
     */
    start(
      userId: string,
      epoch: number,
      session: NewSession,
      also?: Also,
    ): Promise<SessionState | undefined> {
      return database.transaction(async (tx) => {
        const owner = await lockUser(tx, userId, session.replaces)
        if (!owner || owner.sessionEpoch !== epoch || owner.disabledAt) return undefined
        return insertSession(tx, 'login', userId, session, also)
      })
    },

    /**
     * Registers a user and starts the first session, both or neither.
     * @param also what else the transaction does for the new user
     * @returns undefined if the e-mail address is taken, or reserved for its former owner
     */
    startForNewUser(
      user: { email: string; passwordHash: string; passwordScheme: number },
      session: NewSession,
      also: (tx: Queries, userId: string) => Promise<void> = async () => {},
    ): Promise<SessionState | undefined> {
      const registration = database.transaction(async (tx) => {
        const [created] = await tx
          .insert(users)
          .values(user)
          .onConflictDoNothing()
          .returning({ id: users.id })
        // Roll the insert back. The role that serves may not delete users.
        if (!created || (await isReserved(tx, user.email))) throw new AuthError('email_taken')
        await also(tx, created.id)
        await lockUser(tx, created.id, session.replaces)
        return insertSession(tx, 'registered', created.id, session)
      })
      return registration.catch((error): undefined => {
        if (codeOf(error) !== 'email_taken') throw error
      })
    },

    /**
     * Rotates a session in one conditional statement. So if several requests present the same token, at most one
     * succeeds: PostgreSQL evaluates the WHERE again after waiting for the row lock, and finds the next generation.
     * Stores the network address and browser of the request.
     * @returns the session at its next generation. Undefined if the session is not live, its user is disabled, or the
     * token has expired or is of another generation. The expiry of the token counts too, because an operator may raise
     * the idle timeout. Otherwise a session that was idle for too long would then be live again.
     */
    rotate({ sessionId, userId, generation, expiresAt }: RefreshClaims, from: Caller) {
      const isUnexpired = sql`extract(epoch FROM now()) < ${expiresAt}`
      const isCurrent = and(own(sessionId, userId), eq(sessions.generation, generation), isUnexpired)
      return database.run((queries) => rotateWhere(queries, isCurrent, from))
    },

    /**
     * Makes a session fresh, because its user has proved their identity again, and rotates it in the same statement. So
     * a session that ends at the same time does not come back. A change of the password ends the session too.
     * @param proof how the user proved their identity
     * @returns undefined if the session is not live, or its user is disabled
     */
    reauthenticate(id: string, userId: string, proof: AuthenticationMethod[], from: Caller) {
      return database.transaction(async (tx) => {
        const methods = sql`${sql.param(proof, sessions.amr)}::text[]`
        const proven = await rotateWhere(tx, own(id, userId), from, {
          authenticatedAt: sql`now()`,
          amr: sql`${sessions.amr} || array(SELECT m FROM unnest(${methods}) m WHERE m <> ALL (${sessions.amr}))`,
        })
        if (proven) await recordEvents(tx, [{ event: 'reauthenticated', userId, sessionId: id, ...from }])
        return proven
      })
    },

    /**
     * Reads a live session of a user who is not disabled.
     * @returns undefined if there is none; `withinGrace` says whether the grace window of its last rotation is still
     * open
     */
    find(id: string, userId: string): Promise<(SessionState & { withinGrace: boolean }) | undefined> {
      return database.run((queries) => findLive(queries, id, userId))
    },

    /** Returns the user's live sessions, the last used one first. Does not check whether the user is disabled. */
    list(userId: string): Promise<Session[]> {
      return database.run((queries) =>
        queries
          .select(columns)
          .from(sessions)
          .where(and(eq(sessions.userId, userId), live))
          .orderBy(desc(sessions.rotatedAt), asc(sessions.id)),
      )
    },

    /** @returns whether this call ended the session: false if it is unknown, of another user, or not live */
    end(id: string, userId: string, reason: EndReason, from: Caller): Promise<boolean> {
      return database.transaction((tx) => endWhere(tx, and(own(id, userId), live), reason, from))
    },

    /** Ends all sessions of the user, also those past a timeout. */
    endAll(userId: string, reason: EndReason, from: Caller): Promise<void> {
      return database.transaction((tx) => endAllSessions(tx, userId, reason, from))
    },

    /**
     * Changes a password, ends all sessions of the user, and starts a new one for the device that asked. The session
     * that asked also ends, because a thief may have a copy of its tokens.
     * @param asking the id of the session that asked
     * @param also what else the transaction does
     * @returns undefined, without a change, if the password is no longer `from`
     * @throws AuthError `session_ended` if `asking` is no longer live, or the user is disabled
     */
    changePassword(
      userId: string,
      asking: string,
      from: string,
      to: { passwordHash: string; passwordScheme: number },
      session: NewSession,
      also?: Also,
    ): Promise<SessionState | undefined> {
      return database.transaction(async (tx) => {
        const owner = await lockUser(tx, userId, session.replaces)
        // The session may have ended during the hashing of the password.
        if (!(await findLive(tx, asking, userId))) throw new AuthError('session_ended')
        if (owner?.passwordHash !== from) return undefined
        const { ip, userAgent } = session
        await recordEvents(tx, [{ event: 'password_changed', userId, sessionId: asking, ip, userAgent }])
        await endAllSessions(tx, userId, 'password_changed', session, to)
        return insertSession(tx, 'login', userId, session, also)
      })
    },
  }

  /** Sets the next generation of a live session, where and when it was used, and `more`. */
  async function rotateWhere(
    on: Queries,
    which: SQL | undefined,
    { ip, userAgent }: Caller,
    more: { authenticatedAt?: SQL; amr?: SQL } = {},
  ): Promise<SessionState | undefined> {
    const next = { generation: sql`${sessions.generation} + 1`, rotatedAt: sql`now()` }
    const [rotated] = await on
      .update(sessions)
      .set({ ...next, ip: ip ?? null, userAgent: userAgent ?? null, ...more })
      .from(users)
      .where(and(which, eq(users.id, sessions.userId), liveWithUser))
      .returning(state)
    return rotated
  }

  async function findLive(on: Queries, id: string, userId: string) {
    const withinGrace = sql<boolean>`${sessions.rotatedAt} + ${seconds(limits.graceSeconds)} > now()`
    const [found] = await on
      .select({ ...state, withinGrace })
      .from(sessions)
      .innerJoin(users, eq(users.id, sessions.userId))
      .where(and(own(id, userId), liveWithUser))
    return found
  }

  /** The user's row must be locked. */
  async function insertSession(
    tx: Queries,
    event: 'login' | 'registered',
    userId: string,
    { replaces, ...session }: NewSession,
    also?: Also,
  ) {
    const { id, userAgent, ip } = session
    const expiresAt = sql`now() + ${seconds(limits.absoluteSeconds)}`
    await tx.insert(sessions).values({ ...session, userId, expiresAt })
    await recordEvents(tx, [{ event, userId, sessionId: id, ip, userAgent }])
    if (replaces) await endWhere(tx, eq(sessions.id, replaces), 'login', { ip, userAgent })
    const overCap = tx
      .select({ id: sessions.id })
      .from(sessions)
      .where(and(eq(sessions.userId, userId), ne(sessions.id, id), live))
      .orderBy(desc(sessions.createdAt), desc(sessions.id))
      .offset(limits.perUser - 1)
    await endWhere(tx, inArray(sessions.id, overCap), 'too_many', { ip, userAgent })
    const started = await findLive(tx, id, userId)
    if (started) await also?.(tx, started)
    return started
  }
}

/** Ends the sessions of `which` that have not ended. @returns whether there were any */
async function endWhere(tx: Queries, which: SQL | undefined, reason: EndReason, { ip, userAgent }: Caller) {
  const ended = await tx
    .update(sessions)
    .set({ endedAt: sql`now()`, endReason: reason })
    .where(and(which, isNull(sessions.endedAt)))
    .returning({ sessionId: sessions.id, userId: sessions.userId })
  await recordEvents(
    tx,
    ended.map((session) => ({ event: 'session_ended', reason, ...session, ip, userAgent })),
  )
  return ended.length > 0
}

/**
 * Locks the row of a user, and of the user whose session is replaced, before any session changes. So logins of one user
 * take turns with each other, with logout-all and with a change of the password. Locks the rows in the order of their
 * ids. Otherwise two users who replace each other's sessions would deadlock.
 */
async function lockUser(tx: Queries, userId: string, replaces: string | undefined) {
  const userOfReplaced = tx
    .select({ id: sessions.userId })
    .from(sessions)
    .where(eq(sessions.id, replaces ?? ''))
  const locked = await tx
    .select()
    .from(users)
    .where(or(eq(users.id, userId), inArray(users.id, userOfReplaced)))
    .orderBy(asc(users.id))
    .for('update')
  return locked.find(({ id }) => id === userId)
}

/**
 * Ends all sessions of a user, also those whose login is in progress. Every device cookie becomes void. A trigger ends the
 * links of the account that such a moment withdraws.
 * @param change what else changes in the row of the user
 * @param except the session that goes on
 */
export async function endAllSessions(
  tx: Queries,
  userId: string,
  reason: EndReason,
  from: Caller,
  change: PgUpdateSetSource<typeof users> = {},
  except = '',
): Promise<void> {
  await tx
    .update(users)
    .set({ ...change, sessionEpoch: sql`${users.sessionEpoch} + 1` })
    .where(eq(users.id, userId))
  await endWhere(tx, and(eq(sessions.userId, userId), ne(sessions.id, except)), reason, from)
}

export type SessionStore = ReturnType<typeof createSessionStore>
