import type { Config } from '../config/config.ts'
import type { FeatureCodes } from '../errors.ts'
import type { Problem, Problems } from '../http/problem.ts'
import { type BoundRoute, bind, type CheckServices, type Route } from '../http/route.ts'
import type { AuditLog } from '../store/audit.ts'
import type { Database } from '../store/database.ts'
import type { UserStore } from '../store/users.ts'

/** What a feature may use of the core. */
export interface Core extends CheckServices {
  config: Config
  publicUrl: string
  database: Database
  users: UserStore
  audit: AuditLog
  /** Returns every route that is switched on. */
  routes: () => readonly Route[]
  problems: Problems
}

type FeatureProblems = Readonly<Partial<Record<keyof FeatureCodes, Problem>>>

/** A part that a fork may delete: its folder, and its line in `src/features.ts`. */
export interface Feature {
  name: string
  routes: readonly Route[]
  problems: FeatureProblems
  /** Returns the routes, ready to serve. There are none if a setting switches the feature off. */
  open: (core: Core) => readonly BoundRoute[]
}

/**
 * Declares a feature.
 * @param declaration `create` builds what the routes need: stores and use cases. It returns undefined if a setting
 * switches the feature off. `problems` has the error codes of the feature.
 */
export function feature<Services extends object>(declaration: {
  name: string
  routes: readonly Route<Services & Core>[]
  problems?: FeatureProblems
  create: (core: Core) => Services | undefined
}): Feature {
  const { name, routes, problems = {}, create } = declaration
  return {
    name,
    routes,
    problems,
    open(core) {
      const services = create(core)
      return services ? bind(routes, { ...core, ...services }) : []
    },
  }
}
