import { coreRoutes } from '../../src/app.ts'
import { features } from '../../src/features.ts'
import { noBody } from '../../src/http/body.ts'
import type { Route } from '../../src/http/route.ts'

/** Every route that a server with all features has. */
export const routes: readonly Route[] = [...coreRoutes, ...features.flatMap((feature) => feature.routes)]

/** Returns the name of a route, such as `DELETE /auth/sessions/:id`. */
export const nameOf = ({ method, path }: Route) => `${method.toUpperCase()} ${path}`

/** A route to send requests to, and what it takes. */
export interface RouteUnderTest {
  method: string
  /** With values in the place of parameters. */
  path: string
  /** The methods of the path, as the header Allow lists them. */
  allow: string[]
  /** `members`: a body is required. `none`: no body, or `{}`. */
  body?: 'none' | 'members'
  bearer: boolean
}

const parameters: Record<string, string> = { id: 'AAAAAAAAAAAAAAAAAAAAAA', file: 'start.js' }
const methodsOf = ({ method }: Route) => (method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()])

/** The routes that the OpenAPI document has. */
export const routesUnderTest: RouteUnderTest[] = routes
  .filter(({ hidden }) => !hidden)
  .map(({ method, path, checks }) => {
    const schema = checks.find(({ body }) => body)?.body
    return {
      method: method.toUpperCase(),
      path: path.replaceAll(/:(\w+)/g, (_, name) => parameters[name] ?? '1'),
      allow: routes.filter((route) => route.path === path).flatMap(methodsOf),
      ...(schema && { body: schema === noBody.body ? 'none' : 'members' }),
      bearer: checks.some(({ credentials }) => credentials === 'accessToken'),
    }
  })
