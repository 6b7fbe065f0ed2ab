import { coreRoutes } from '../../src/app.ts'
import { openapiDocument } from '../../src/features/docs/openapi.ts'
import { features, problems } from '../../src/features.ts'
import type { Route } from '../../src/http/route.ts'
import { publicUrl, refreshCookieName } from './environment.ts'

/** Every route that a server with all features has. */
export const routes: readonly Route[] = [...coreRoutes, ...features.flatMap((feature) => feature.routes)]

/** The OpenAPI document as clients get it: without what JSON leaves out. */
export const openapi = JSON.parse(
  JSON.stringify(openapiDocument({ publicUrl, cookieName: refreshCookieName, routes, problems })),
)

/** Returns the name of a route, such as `DELETE /auth/sessions/:id`. */
export const nameOf = ({ method, path }: Route) => `${method.toUpperCase()} ${path}`
