import { isNotNull, isNull, sql } from 'drizzle-orm'
import {
  bigint,
  boolean,
  index,
  integer,
  jsonb,
  pgTable,
  smallint,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core'
import type { KeyEvent } from '../secrets/key-events.ts'

const time = (name: string) => timestamp(name, { withTimezone: true })

export const users = pgTable(
  'users',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    /** ASCII, trimmed and in lower case, so that each e-mail address has one spelling. */
    email: text('email').notNull().unique(),
    passwordHash: text('password_hash').notNull(),
    /** How the password was prepared before it was hashed, so that this can change. */
    passwordScheme: smallint('password_scheme').notNull(),
    role: text('role').notNull().default('user'),
    emailVerifiedAt: time('email_verified_at'),
    createdAt: time('created_at').notNull().defaultNow(),
    /** A trigger ends all sessions of the user when this is set, also those whose login is in progress. */
    disabledAt: time('disabled_at'),
    /** Increased when all sessions end at once. A login that began before then starts no session. */
    sessionEpoch: integer('session_epoch').notNull().default(0),
  },
  // The cost in a bcrypt hash: `$2b$12$…`. A login looks up the highest one.
  (table) => [index('users_hash_cost').on(sql`substring(${table.passwordHash} FROM 5 FOR 2)`)],
)

/** One login on one device. No index covers a column that a rotation changes, so rotations are HOT updates. */
export const sessions = pgTable(
  'sessions',
  {
    /** 128 random bits, base64url. */
    id: text('id').primaryKey(),
    userId: uuid('user_id')
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    generation: integer('generation').notNull().default(1),
    rotatedAt: time('rotated_at').notNull().defaultNow(),
    createdAt: time('created_at').notNull().defaultNow(),
    /** When and how the user last proved their identity. A rotation changes neither. */
    authenticatedAt: time('authenticated_at').notNull().defaultNow(),
    /** The default is for rows that an older server inserts during an upgrade. */
    amr: text('amr').array().$type<AuthenticationMethod[]>().notNull().default(['pwd']),
    /** The absolute limit. No rotation moves it. */
    expiresAt: time('expires_at').notNull(),
    endedAt: time('ended_at'),
    endReason: text('end_reason').$type<EndReason>(),
    userAgent: text('user_agent'),
    ip: text('ip'),
  },
  (table) => [
    // Lists and caps read only the live sessions of a user. Deleting a user reads all sessions, so the index is not
    // partial.
    index('sessions_user_id_ended_at').on(table.userId, table.endedAt),
    index('sessions_ended_at').on(table.endedAt).where(isNotNull(table.endedAt)),
    index('sessions_expires_at').on(table.expiresAt),
  ],
)

/** Attempts in fixed windows, with one row for each account, device, session or network. */
export const attempts = pgTable(
  'attempts',
  {
    key: text('key').primaryKey(),
    count: integer('count').notNull(),
    /** Whether the audit already has an event for an attempt that this window refused. */
    throttled: boolean('throttled').notNull().default(false),
    /** In milliseconds, because it identifies the window and JavaScript has no finer times. */
    windowEnds: timestamp('window_ends', { withTimezone: true, precision: 3 }).notNull(),
  },
  (table) => [index('attempts_window_ends').on(table.windowEnds)],
)

/** What a link in a mail does: `ACCOUNT_URL#PURPOSE=TOKEN`. */
export type LinkPurpose = 'register' | 'verify' | 'reset' | 'email' | 'undo' | 'cancel-deletion'

/** One-time links in mails. A token is computed from a row and signed, so the table contains no token. */
export const links = pgTable(
  'links',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    purpose: text('purpose').$type<LinkPurpose>().notNull(),
    /** Null for `register`, because the account does not exist yet. */
    userId: uuid('user_id').references(() => users.id, { onDelete: 'cascade' }),
    /** The e-mail address that the link is about: the new one for `email`, the former one for `undo`. */
    email: text('email').notNull(),
    /** For `register`: the password of the future account. */
    passwordHash: text('password_hash'),
    passwordScheme: smallint('password_scheme'),
    /** For `undo`: when the change of address was asked for. */
    requestedAt: time('requested_at'),
    createdAt: time('created_at').notNull().defaultNow(),
    expiresAt: time('expires_at').notNull(),
    /** Set when the link is used, replaced or withdrawn. */
    endedAt: time('ended_at'),
  },
  (table) => [
    index('links_user_id').on(table.userId),
    index('links_email').on(table.email),
    index('links_expires_at').on(table.expiresAt),
    index('links_ended_at').on(table.endedAt).where(isNotNull(table.endedAt)),
  ],
)

/** Mails to send. Contains the name of a template and its parameters, and never a rendered mail or a token. */
export const outbox = pgTable(
  'outbox',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    template: text('template').notNull(),
    /** Null for a decoy. It takes the way of a mail up to SMTP, so that an address without an account looks alike. */
    recipient: text('recipient'),
    /** The account that the mail is about. */
    userId: uuid('user_id'),
    params: jsonb('params').$type<MailParams>().notNull(),
    linkId: uuid('link_id').references(() => links.id, { onDelete: 'cascade' }),
    createdAt: time('created_at').notNull().defaultNow(),
    /** When a worker may take the mail. A worker that takes it moves this time ahead, as its lease. */
    dueAt: time('due_at').notNull().defaultNow(),
    tries: integer('tries').notNull().default(0),
    giveUpAt: time('give_up_at').notNull(),
    /** The key that signs the link in every copy of the mail. Set when a worker first takes the mail. */
    kid: text('kid'),
    /** When the mail was sent or given up. */
    doneAt: time('done_at'),
  },
  (table) => [
    index('outbox_due_at').on(table.dueAt).where(isNull(table.doneAt)),
    index('outbox_done_at').on(table.doneAt).where(isNotNull(table.doneAt)),
    index('outbox_link_id').on(table.linkId),
  ],
)

/** What a template needs to know. No secrets, and nothing that a client sent. */
export type MailParams = Record<string, string | number | boolean | string[] | null>

/**
 * What happened to accounts, sessions and keys. Contains no secret, and no e-mail address of an unknown user.
 */
export const auditEvents = pgTable(
  'audit_events',
  {
    id: bigint('id', { mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
    at: time('at').notNull().defaultNow(),
    event: text('event').$type<AuditedEvent>().notNull(),
    /** Why a session ended (an EndReason), why a key is not used, or which budget throttled. */
    reason: text('reason'),
    userId: uuid('user_id'),
    sessionId: text('session_id'),
    ip: text('ip'),
    userAgent: text('user_agent'),
    /** For keys: their variable, their name in tokens, and the place that the variable names. */
    secret: text('secret'),
    kid: text('kid'),
    source: text('source'),
  },
  (table) => [index('audit_events_at').on(table.at)],
)

/**
 * The events of features. A feature adds its own:
 * `declare module '../../store/schema.ts' { interface FeatureEvents { note_deleted: true } }`
 */
// biome-ignore lint/suspicious/noEmptyInterface: features add to it
export interface FeatureEvents {}

export type AuditedEvent =
  | 'registered'
  | 'login'
  | 'login_failed'
  | 'password_changed'
  | 'password_change_failed'
  | 'reauthenticated'
  | 'reauthentication_failed'
  | 'session_ended'
  | 'throttled'
  | KeyEvent['event']
  | keyof FeatureEvents

/** How a user proved their identity (RFC 8176). */
export type AuthenticationMethod = 'pwd' | 'otp' | 'hwk' | 'swk' | 'user' | 'mfa'

export type EndReason =
  | 'logout'
  | 'logout_all'
  /** Replaced by a new session, because a login presented its cookie. A registration counts as a login. */
  | 'login'
  | 'revoked'
  | 'password_changed'
  /** A change of address was confirmed or undone. */
  | 'email_changed'
  | 'too_many'
  | 'reuse'
  | 'user_disabled'
