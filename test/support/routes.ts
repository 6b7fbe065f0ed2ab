import { coreRoutes } from '../../src/app.ts'
import { features } from '../../src/features.ts'
import type { Route } from '../../src/http/route.ts'

/** Every route that a server with all features has. */
export const routes: readonly Route[] = [...coreRoutes, ...features.flatMap((feature) => feature.routes)]

/** Returns the name of a route, such as `DELETE /auth/sessions/:id`. */
export const nameOf = ({ method, path }: Route) => `${method.toUpperCase()} ${path}`
