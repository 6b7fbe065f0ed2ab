import type { z } from 'zod'
import type { DeviceTokens } from '../auth/device-token.ts'
import type { Grants } from '../auth/grant.ts'
import type { OwnLinkOf } from '../auth/link-owner.ts'
import type { LinkTokens } from '../auth/link-token.ts'
import type { NewSessionFor } from '../auth/new-session.ts'
import type { Notify } from '../auth/notify.ts'
import type { OpenLink } from '../auth/open-link.ts'
import type { Passwords } from '../auth/password.ts'
import type { Verification } from '../auth/register.ts'
import type { Throttle } from '../auth/throttle.ts'
import type { Config } from '../config/config.ts'
import type { FeatureCodes } from '../errors.ts'
import type { Problem, Problems } from '../http/problem.ts'
import { type BoundRoute, bind, type CheckServices, type Route } from '../http/route.ts'
import type { Mailbox } from '../mail/mailbox.ts'
import type { Template } from '../mail/template.ts'
import type { AuditLog } from '../store/audit.ts'
import type { Database } from '../store/database.ts'
import type { Purge } from '../store/housekeeping.ts'
import type { UserStore } from '../store/users.ts'

/** What a feature may use of the core. */
export interface Core extends CheckServices {
  config: Config
  publicUrl: string
  database: Database
  users: UserStore
  audit: AuditLog
  passwords: Passwords
  throttle: Throttle
  linkTokens: LinkTokens
  openLink: OpenLink
  ownLink: OwnLinkOf
  deviceTokens: DeviceTokens
  prepareDeviceGrant: Grants['prepareDeviceGrant']
  newSessionFor: NewSessionFor
  notify: Notify
  /** The page that links in mails open. */
  accountUrl: string
  /** The mails of this process, if they go to no SMTP server. */
  mailbox: Mailbox
  /** Returns every route that is switched on. */
  routes: () => readonly Route[]
  problems: Problems
}

type Mails = Readonly<Record<string, Template>>
type FeatureProblems = Readonly<Partial<Record<keyof FeatureCodes, Problem>>>

/** A part that a fork may delete: its folder, and its line in `src/features.ts`. */
export interface Feature {
  name: string
  /** Settings of its own, by name: see `src/config/settings.ts`. */
  settings: z.ZodRawShape
  routes: readonly Route[]
  problems: FeatureProblems
  /** What the housekeeping deletes in the tables of the feature. */
  purges: readonly Purge[]
  /** The mails that the feature sends, by the names of their templates. */
  mails: Mails
  /** Returns a function that tells owners of accounts what happened to them. */
  notify: (config: Config) => Notify
  /** A page for people, which the terminal names in development. */
  page?: { title: string; path: string }
  /** Returns how registering verifies e-mail addresses. The core registers accounts without it. */
  verification?: (core: Core) => Verification
  /** Whether the settings switch the feature on. */
  isOn: (config: Config) => boolean
  /** Returns the routes, with everything that they need. */
  bind: (core: Core) => readonly BoundRoute[]
}

/**
 * Declares a feature.
 * @param declaration `problems` has the error codes of the feature. `create` builds what the routes need, such as stores
 * and use cases. Without `isOn` the feature is always on.
 */
export function feature<Settings extends z.ZodRawShape, Services extends object>({
  problems = {},
  purges = [],
  mails = {},
  isOn = () => true,
  notify = () => async () => {},
  create,
  ...declaration
}: Pick<Feature, 'name' | 'page' | 'verification'> & {
  settings: Settings
  routes: readonly Route<Services & Core>[]
  problems?: FeatureProblems
  purges?: readonly Purge[]
  mails?: Mails
  notify?: (settings: z.output<z.ZodObject<Settings>>) => Notify
  isOn?: (settings: z.output<z.ZodObject<Settings>>, config: Config) => boolean
  create: (core: Core, settings: z.output<z.ZodObject<Settings>>) => Services
}): Feature {
  const { name } = declaration
  const settingsIn = ({ features }: Config) => {
    const own = features[name]
    if (!own) throw new Error(`The settings of ${name} were not loaded. Pass { features } to loadConfig.`)
    return own as z.output<z.ZodObject<Settings>>
  }
  return {
    ...declaration,
    problems,
    purges,
    mails,
    notify: (config) => notify(settingsIn(config)),
    isOn: (config) => isOn(settingsIn(config), config),
    bind: (core) => bind(declaration.routes, { ...core, ...create(core, settingsIn(core.config)) }),
  }
}

/**
 * Returns the templates of all features, by their names.
 * @throws Error if two features declare the same name
 */
export function templatesOf(features: readonly Pick<Feature, 'name' | 'mails'>[]): Mails {
  const all: Record<string, Template> = {}
  for (const { name, mails } of features)
    for (const [mail, template] of Object.entries(mails)) {
      if (Object.hasOwn(all, mail))
        throw new Error(
          `The feature ${name} declares the mail ${mail}, which exists already. Choose another name.`,
        )
      all[mail] = template
    }
  return all
}
