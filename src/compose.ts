import { randomBytes, randomUUID } from 'node:crypto'
import type { RequestListener } from 'node:http'
import type { Logger } from 'pino'
import { coreRoutes, createApp } from './app.ts'
import { createAccessTokens } from './auth/access-token.ts'
import { createChangePassword } from './auth/change-password.ts'
import { createAddressDigest } from './auth/derived-keys.ts'
import { createDeviceTokens } from './auth/device-token.ts'
import { createGrants } from './auth/grant.ts'
import { createLinkOwner } from './auth/link-owner.ts'
import { createLinkTokens } from './auth/link-token.ts'
import { createLogin } from './auth/login.ts'
import { createLogout } from './auth/logout.ts'
import { createNewSessions } from './auth/new-session.ts'
import type { Notify } from './auth/notify.ts'
import { createOpenLink } from './auth/open-link.ts'
import { createPasswords, type Threads } from './auth/password.ts'
import { createReauthenticate } from './auth/reauthenticate.ts'
import { createRefresh } from './auth/refresh.ts'
import { createRefreshTokens } from './auth/refresh-token.ts'
import { createRegister } from './auth/register.ts'
import { createThrottle } from './auth/throttle.ts'
import type { Config } from './config/config.ts'
import { ConfigError } from './config/config-error.ts'
import { ownOriginRule } from './config/origins.ts'
import { ifPossible } from './errors.ts'
import type { Core } from './features/feature.ts'
import { features, problems, templates } from './features.ts'
import { withBoundedPipelining, withParsableTarget } from './http/connections.ts'
import { createRefusalLog } from './http/cross-site.ts'
import { createMetrics } from './http/metrics.ts'
import { requestLog } from './http/request-log.ts'
import { type BoundRoute, bind } from './http/route.ts'
import { createTokenCookie } from './http/token-cookie.ts'
import { createMail } from './mail/mail.ts'
import type { Template } from './mail/template.ts'
import { delay } from './retry.ts'
import type { KeyEvent } from './secrets/key-events.ts'
import { createLiveKeys } from './secrets/live-keys.ts'
import { singleFlight } from './single-flight.ts'
import { createAttemptStore } from './store/attempts.ts'
import { type AuditLog, createAuditLog } from './store/audit.ts'
import { createClockCheck } from './store/clock.ts'
import { type Database, databaseState } from './store/database.ts'
import { createHousekeeping } from './store/housekeeping.ts'
import { createLinkStore } from './store/links.ts'
import { openDatabase } from './store/open-database.ts'
import { createOutbox, purgeOutbox, wakingAfterMail } from './store/outbox.ts'
import { createSessionStore } from './store/sessions.ts'
import { createUserStore } from './store/users.ts'

/** What tests replace. */
export interface Replacements {
  clock?: () => number
  database?: Database
  housekeepingMs?: number
  mailPollMs?: number
  templates?: Readonly<Record<string, Template>>
  startThreads?: (maxThreads: number) => Threads
}

/**
 * Composition root: opens the database, loads the keys, and wires everything together.
 * @returns `app` builds the Express app for an origin, which is known when the port is bound. `drain` makes the server not
 * ready. `close` closes everything.
 */
export async function compose(config: Config, log: Logger, replacements: Replacements = {}) {
  const { clock = Date.now, housekeepingMs = 60_000, mailPollMs = 1_000, startThreads } = replacements
  const active = features.filter(({ isOn }) => isOn(config))
  const opened =
    replacements.database ??
    (await openDatabase({
      url: config.database.url(),
      folder: config.database.folder,
      warnIfExposed: config.database.warnIfExposed,
      onTrouble: (message) => log.warn({ event: 'database_trouble' }, message),
    }))
  const database = wakingAfterMail(opened, () => mail.wake())
  const compareClocks = createClockCheck({
    database,
    clock,
    onChange: (status, secondsAhead) =>
      status === 'skewed'
        ? log.warn(
            { event: 'clock_skewed', secondsAhead },
            "This server's clock and the database's differ by more than 30 s. Synchronize both, for example by NTP.",
          )
        : log.info(
            { event: 'clock_ok', secondsAhead },
            "This server's clock and the database's agree again.",
          ),
  })
  await compareClocks()
  const users = createUserStore({ database })
  const sessions = createSessionStore({ database, limits: config.sessions })
  const passwords = createPasswords({
    ...config.passwords,
    context: [hostOf(config.http.publicUrl)],
    highestCost: users.highestCost,
    ...(startThreads && { startThreads }),
  })
  const audit = createAuditLog({ database })
  const warnOfFile = (message: string) => log.warn({ event: 'secret_file_writable' }, message)
  config.fileWarnings.forEach(warnOfFile)
  const keys = await createLiveKeys({
    secrets: config.secrets,
    ...config.keys,
    accessTokenSeconds: config.accessTokenSeconds,
    refreshTokenSeconds: config.sessions.idleSeconds,
    clock,
    delay,
    onEvent: createKeyReports(log, audit),
    onWarning: warnOfFile,
  })
  const throttle = createThrottle({
    attempts: createAttemptStore({ database }),
    limits: config.mail.on
      ? config.limits
      : { ...config.limits, mailAddress: undefined, mailRecipient: undefined },
    addressDigest: createAddressDigest(keys.refresh),
  })
  const outbox = createOutbox({ database, signingKid: () => keys.links.signingKey().kid })
  const metrics = createMetrics({
    passwords: passwords.load,
    connections: database.connections,
    keys: keys.report,
    outbox: singleFlight(() => ifPossible(outbox.waiting())),
    clock,
  })
  const mail = createMail({
    settings: config.mail,
    reloadSeconds: config.keys.reloadSeconds,
    outbox,
    templates: replacements.templates ?? templates,
    count: metrics.mailed,
    log,
    random: Math.random,
    pollMs: mailPollMs,
  })
  const warnOfPurge = (error: Error) =>
    log.warn({ event: 'purge_failed' }, `Cannot delete old rows: ${error.message}`)
  const housekeeping = createHousekeeping({
    database,
    auditDays: config.auditDays,
    purges: [purgeOutbox, ...active.flatMap(({ purges }) => purges)],
  })
  ifPossible(purgeOutbox(database)).catch(warnOfPurge)
  const housekeepingTimer = setInterval(() => {
    housekeeping.purge().catch(warnOfPurge)
  }, housekeepingMs).unref()
  const tellers = active.map((feature) => feature.notify(config))
  const notify: Notify = async (tx, notice) => {
    for (const tell of tellers) await tell(tx, notice)
  }
  let draining = false
  let stopMail: Promise<void> | undefined

  function app(publicUrl: string): RequestListener {
    const linkTokens = createLinkTokens({ keys: keys.links, issuer: publicUrl, clock })
    const accountUrl = config.mail.accountUrl ?? `${publicUrl}/account`
    mail.start({ site: new URL(publicUrl).host, accountUrl, signLink: linkTokens.sign })
    const accessTokens = createAccessTokens({
      keys: keys.access,
      issuer: publicUrl,
      audience: config.http.audience ?? publicUrl,
      lifetimeSeconds: config.accessTokenSeconds,
      clock,
      randomId: randomUUID,
    })
    const refreshTokens = createRefreshTokens({ keys: keys.refresh, issuer: publicUrl, clock })
    const deviceTokens = createDeviceTokens({
      refreshKeys: keys.refresh,
      issuer: publicUrl,
      clock,
      randomId: randomUUID,
    })
    const grants = createGrants({ accessTokens, refreshTokens, deviceTokens })
    const newSessionFor = createNewSessions({ refreshTokens, randomId: newSessionId })
    const secure = config.http.secureCookies
    const cookies = {
      refresh: createTokenCookie('refresh_token', { secure, publicUrl }),
      device: createTokenCookie('device', { secure, publicUrl }),
    }
    const isOwnOrigin = ownOriginRule(publicUrl, config.http.localNetwork)
    const { corsOrigins } = config.http
    const checks = {
      isAllowedOrigin: (origin: string) => isOwnOrigin(origin) || corsOrigins.includes(origin),
      logRefusedOrigin: createRefusalLog(clock),
      registration: config.registration,
      accessTokens,
      refreshTokens,
      sessions,
      cookies,
      throttle,
      freshSeconds: config.freshSeconds,
    }
    const stores = { users, sessions, audit }
    const tokens = { accessTokens, refreshTokens, deviceTokens }
    const deps = { ...stores, ...tokens, passwords, throttle, ...grants, newSessionFor, notify }
    const openLink = createOpenLink({ linkTokens, links: createLinkStore({ database }) })
    const forFeatures: Core = {
      ...checks,
      ...deps,
      config,
      publicUrl,
      database,
      linkTokens,
      openLink,
      ownLink: createLinkOwner({ ...deps, openLink }),
      accountUrl,
      mailbox: mail.mailbox,
      problems,
      routes: () => routes.map(({ route }) => route),
    }
    const verification = active.flatMap((feature) => feature.verification?.(forFeatures) ?? []).at(0)
    if (config.registration === 'verified' && !verification)
      throw new ConfigError(['REGISTRATION: verified needs the feature verification. Set open or closed.'])
    const core = bind(coreRoutes, {
      ...checks,
      metrics,
      publicKeys: keys.publicKeys,
      register: createRegister({ ...deps, verification }),
      login: createLogin(deps),
      refresh: createRefresh(deps),
      logout: createLogout(deps),
      changePassword: createChangePassword(deps),
      reauthenticate: createReauthenticate(deps),
      ready: {
        database: () => databaseState(database),
        clock: compareClocks,
        keys: keys.status,
        draining: () => draining,
      },
    })
    const routes: readonly BoundRoute[] = [...core, ...active.flatMap((feature) => feature.bind(forFeatures))]

    const server = createApp({
      publicUrl,
      corsOrigins,
      hstsIncludeSubdomains: config.http.hstsIncludeSubdomains,
      trustProxy: config.http.trustProxy,
      warnOfUnknownProxy: config.http.warnOfUnknownProxy,
      requestLog: requestLog(log, { draining: () => draining }),
      measure: metrics.observe,
      draining: () => draining,
      routes,
      problems,
      freshSeconds: config.freshSeconds,
    })
    return withBoundedPipelining(withParsableTarget(server))
  }

  return {
    app,
    metrics,
    purge: housekeeping.purge,
    sendMails: mail.settle,
    mailbox: mail.mailbox,
    /** Reads the secrets again, and SMTP_URL. */
    async reloadKeys() {
      await Promise.all([keys.reload(), mail.reload()])
    },
    drain() {
      draining = true
      stopMail ??= mail.stop()
    },
    async close() {
      clearInterval(housekeepingTimer)
      await (stopMail ?? mail.stop())
      keys.close()
      await passwords.close()
      await database.close()
    },
  }
}

/** Reports changes of the keys: to the log, and to the audit in the order of the events. */
function createKeyReports(log: Logger, audit: AuditLog) {
  let recorded: Promise<void> = Promise.resolve()
  return ({ version, ...event }: KeyEvent) => {
    const bad = event.event === 'key_refused' || event.event === 'keys_reload_failed'
    log[bad ? 'error' : 'info']({ ...event, version }, messageOf(event))
    // Wait for the event before. On a second connection, this one could be recorded first.
    recorded = recorded
      .then(() => audit.record(event))
      .catch(({ message }: Error) =>
        log.warn({ event: 'audit_failed' }, `Cannot write an event to the audit: ${message}`),
      )
  }
}

function messageOf({ event, kid, secret, reason }: KeyEvent): string {
  const key = `Key ${kid} of ${secret}`
  switch (event) {
    case 'key_published':
      return `${key} now verifies. It signs when every server has had time to load it.`
    case 'key_signing':
      return `${key} now signs.`
    case 'key_verifying':
      return `${key} does not sign. It verifies until its last token has expired.`
    case 'key_retired':
      return `${key} no longer verifies: ${reason}.`
    case 'key_refused':
      return `${secret} was refused: ${reason}`
    case 'keys_reload_failed':
      return `${secret} could not be read: ${reason}`
    case 'keys_loaded':
      return 'All secrets were read.'
  }
}

// 128 random bits, so that an attacker cannot guess the id of a session.
const newSessionId = () => randomBytes(16).toString('base64url')

const hostOf = (publicUrl: string | undefined) =>
  publicUrl === undefined ? 'localhost' : new URL(publicUrl).hostname
