import { and, asc, desc, eq, gt, inArray, isNull, ne, type SQL, sql } from 'drizzle-orm'
import { AuthError } from '../auth/errors.ts'
import { type Caller, recordEvents } from './audit.ts'
import { type Database, guarded, type Queries } from './database.ts'
import { type EndReason, sessions, users } from './schema.ts'
import { type User, userColumns } from './users.ts'

/** One login on one device. */
export interface Session {
  id: string
  userId: string
  generation: number
  rotatedAt: Date
  createdAt: Date
  /** When it ends if it is not refreshed before: the idle limit, or the absolute one where that is sooner. */
  usableUntil: Date
  userAgent: string | null
  ip: string | null
}

/** What is known of the device when a session starts. */
export interface NewSession extends Caller {
  id: string
  /** The session whose cookie was presented, which this one takes the place of. */
  replaces: string | undefined
}

/** A session with its user, and the database's time: a session's limits are never judged by another clock. */
export interface SessionState {
  session: Session
  user: User
  now: Date
}

export interface SessionLimits {
  idleSeconds: number
  absoluteSeconds: number
  graceSeconds: number
  perUser: number
}

const seconds = (count: number) => sql`make_interval(secs => ${count})`

/** Sessions in PostgreSQL. All functions throw AuthError `unavailable` where it is out of reach. */
export function createSessionStore({ database, limits }: { database: Database; limits: SessionLimits }) {
  const { queries } = database
  const usableUntil = sql`least(${sessions.rotatedAt} + ${seconds(limits.idleSeconds)}, ${sessions.expiresAt})`
  const live = and(isNull(sessions.endedAt), gt(usableUntil, sql`now()`)) as SQL
  const liveWithUser = and(live, isNull(users.disabledAt)) as SQL

  const columns = {
    id: sessions.id,
    userId: sessions.userId,
    generation: sessions.generation,
    rotatedAt: sessions.rotatedAt,
    createdAt: sessions.createdAt,
    usableUntil: sql<Date>`${usableUntil}`.mapWith(sessions.expiresAt).as('usable_until'),
    userAgent: sessions.userAgent,
    ip: sessions.ip,
  }
  const state = {
    session: columns,
    user: userColumns,
    now: sql<Date>`now()`.mapWith(sessions.createdAt).as('now'),
  }

  async function end(tx: Queries, which: SQL | undefined, reason: EndReason, { ip, userAgent }: Caller) {
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

  const own = (id: string, userId: string) => and(eq(sessions.id, id), eq(sessions.userId, userId))

  return guarded({
    /**
     * Starts a session for a user, and ends the one it replaces and the oldest over the cap.
     * @param epoch the user's epoch when the password was checked
     * @returns undefined where all sessions were ended since then, or the user was disabled or deleted
     */
    start(userId: string, epoch: number, session: NewSession): Promise<SessionState | undefined> {
      return database.transaction((tx) => insertSession(tx, 'login', userId, epoch, session))
    },

    /**
     * Registers a user and starts the first session, both or neither.
     * @returns undefined where the address is taken
     */
    startForNewUser(
      user: { email: string; passwordHash: string; passwordScheme: number },
      session: NewSession,
    ): Promise<SessionState | undefined> {
      return database.transaction(async (tx) => {
        const [created] = await tx
          .insert(users)
          .values(user)
          .onConflictDoNothing()
          .returning({ id: users.id })
        return created && insertSession(tx, 'registered', created.id, 0, session)
      })
    },

    /**
     * Rotates: one conditional statement, so that of any number of requests with one token at most one succeeds.
     * @returns the session at its next generation; undefined where it is not live at `generation`
     */
    async rotate(id: string, userId: string, generation: number): Promise<SessionState | undefined> {
      const [rotated] = await queries
        .update(sessions)
        .set({ generation: sql`${sessions.generation} + 1`, rotatedAt: sql`now()` })
        .from(users)
        .where(
          and(
            own(id, userId),
            eq(sessions.generation, generation),
            eq(users.id, sessions.userId),
            liveWithUser,
          ),
        )
        .returning(state)
      return rotated
    },

    /**
     * Reads a live session, for what a rotation could not settle.
     * @returns with `withinGrace`: whether its last rotation is more recent than the grace window is long
     */
    find(id: string, userId: string): Promise<(SessionState & { withinGrace: boolean }) | undefined> {
      return findLive(queries, id, userId)
    },

    /** The user's live sessions, the one used last first. */
    list(userId: string): Promise<Session[]> {
      return queries
        .select(columns)
        .from(sessions)
        .where(and(eq(sessions.userId, userId), live))
        .orderBy(desc(sessions.rotatedAt), asc(sessions.id))
    },

    /** @returns whether this call ended it: false where it is another user's, unknown, or was not live any more */
    end(id: string, userId: string, reason: EndReason, from: Caller): Promise<boolean> {
      return database.transaction((tx) => end(tx, and(own(id, userId), live), reason, from))
    },

    /** Ends all sessions of the user, those included whose login is under way. */
    endAll(userId: string, reason: EndReason, from: Caller): Promise<void> {
      return database.transaction(async (tx) => {
        await raiseEpoch(tx, eq(users.id, userId), {})
        await end(tx, eq(sessions.userId, userId), reason, from)
      })
    },

    /**
     * Changes a password, and ends the user's sessions but `keep`, those included whose login is under way.
     * @returns whether it was changed: not where the password is not `from` any more
     * @throws AuthError `session_ended` where `keep` is not live any more
     */
    changePassword(
      userId: string,
      from: string,
      to: { passwordHash: string; passwordScheme: number },
      keep: string,
      { ip, userAgent }: Caller,
    ): Promise<boolean> {
      return database.transaction(async (tx) => {
        const changed = await raiseEpoch(tx, and(eq(users.id, userId), eq(users.passwordHash, from)), to)
        if (!changed) return false
        // Passwords take long to hash. Whoever was logged out meanwhile changes nothing any more.
        if (!(await findLive(tx, keep, userId))) throw new AuthError('session_ended')
        await recordEvents(tx, [{ event: 'password_changed', userId, sessionId: keep, ip, userAgent }])
        const others = and(eq(sessions.userId, userId), ne(sessions.id, keep))
        await end(tx, others, 'password_changed', { ip, userAgent })
        return true
      })
    },
  })

  async function findLive(on: Queries, id: string, userId: string) {
    const withinGrace = sql<boolean>`${sessions.rotatedAt} + ${seconds(limits.graceSeconds)} > now()`
    const [found] = await on
      .select({ ...state, withinGrace })
      .from(sessions)
      .innerJoin(users, eq(users.id, sessions.userId))
      .where(and(own(id, userId), liveWithUser))
    return found
  }

  async function insertSession(
    tx: Queries,
    event: 'login' | 'registered',
    userId: string,
    epoch: number,
    session: NewSession,
  ) {
    // Holding the user's row, logins of one user take turns with each other, with logout-all, and with a change of
    // the password: what they see after it is what the others have committed.
    const [owner] = await tx
      .select({ id: users.id })
      .from(users)
      .where(and(eq(users.id, userId), eq(users.sessionEpoch, epoch), isNull(users.disabledAt)))
      .for('update')
    if (!owner) return undefined
    const { id, userAgent, ip, replaces } = session
    await tx.insert(sessions).values({
      id,
      userId,
      userAgent,
      ip,
      expiresAt: sql`now() + ${seconds(limits.absoluteSeconds)}`,
    })
    await recordEvents(tx, [{ event, userId, sessionId: id, ip, userAgent }])
    if (replaces) await end(tx, eq(sessions.id, replaces), 'login', session)
    const overCap = tx
      .select({ id: sessions.id })
      .from(sessions)
      .where(and(eq(sessions.userId, userId), ne(sessions.id, id), live))
      .orderBy(desc(sessions.createdAt), desc(sessions.id))
      .offset(limits.perUser - 1)
    await end(tx, inArray(sessions.id, overCap), 'too_many', session)
    const [started] = await tx
      .select(state)
      .from(sessions)
      .innerJoin(users, eq(users.id, sessions.userId))
      .where(eq(sessions.id, id))
    return started
  }
}

async function raiseEpoch(tx: Queries, which: SQL | undefined, change: Partial<typeof users.$inferInsert>) {
  const raised = await tx
    .update(users)
    .set({ ...change, sessionEpoch: sql`${users.sessionEpoch} + 1` })
    .where(which)
    .returning({ id: users.id })
  return raised.length > 0
}

export type SessionStore = ReturnType<typeof createSessionStore>
