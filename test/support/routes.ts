import type { RequestListener } from 'node:http'
import { coreRoutes } from '../../src/app.ts'
import { features } from '../../src/features.ts'
import { noBody } from '../../src/http/body.ts'
import type { Route } from '../../src/http/route.ts'
import type { LinkPurpose } from '../../src/store/schema.ts'
import { type Client, newEmail, otherPassword, password, send, type TestApp } from './app.ts'
import { newLink } from './links.ts'

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
  /** A body that the route accepts. */
  example?: object
  bearer: boolean
}

const parameters: Record<string, string> = { id: 'AAAAAAAAAAAAAAAAAAAAAA', file: 'start.js' }
const methodsOf = ({ method }: Route) => (method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()])

/** The routes that the OpenAPI document has. */
export const routesUnderTest: RouteUnderTest[] = routes
  .filter(({ hidden }) => !hidden)
  .map(({ method, path, checks, example }) => {
    const schema = checks.find(({ body }) => body)?.body
    return {
      method: method.toUpperCase(),
      path: path.replaceAll(/:(\w+)/g, (_, name) => parameters[name] ?? '1'),
      allow: routes.filter((route) => route.path === path).flatMap(methodsOf),
      ...(example && { example }),
      ...(schema && { body: schema === noBody.body ? 'none' : 'members' }),
      bearer: checks.some(({ credentials }) => credentials === 'accessToken'),
    }
  })

/** Returns the credentials that a route demands, or looks at if a request has them. */
export const credentialsOf = ({ checks, optional }: Route) =>
  checks.find(({ credentials }) => credentials)?.credentials ?? optional

/** What the links do whose tokens these routes take. */
const purposes: Record<string, LinkPurpose> = {
  '/auth/register/confirm': 'register',
  '/auth/email/verify': 'verify',
  '/auth/email/confirm': 'email',
  '/auth/email/undo': 'undo',
  '/auth/password/reset': 'reset',
}

/** Returns what the links do whose tokens a route takes. */
export function purposeOf({ path }: Route): LinkPurpose {
  const purpose = purposes[path]
  if (!purpose)
    throw new Error(`${path} takes a token. Name the purpose of its links in test/support/routes.ts.`)
  return purpose
}

/** Returns the token of a new link that the route accepts from the client. Undefined if the route takes none. */
export async function linkTokenFor(t: TestApp, route: Route, client: Client): Promise<string | undefined> {
  if (!route.example || !('token' in route.example)) return undefined
  const purpose = purposeOf(route)
  return newLink(t, purpose, purpose === 'register' ? { email: newEmail() } : client)
}

/**
 * Sends a request that the route serves: with the credentials of the client, and a body like its example.
 * @param token the result of `linkTokenFor`
 */
export function sendGood(app: RequestListener, route: Route, client: Client, token?: string) {
  const credentials = credentialsOf(route)
  const email = route.name === 'register' ? newEmail() : client.email
  const values = {
    id: client.sessionId,
    email,
    password,
    currentPassword: password,
    newPassword: otherPassword,
    token,
  }
  const valueFor = (name: string) => values[name as keyof typeof values]
  const members = Object.entries(route.example ?? {}).map(([name, value]) => [name, valueFor(name) ?? value])
  return send(
    app,
    nameOf(route).replaceAll(/:(\w+)/g, (_, name) => valueFor(name) ?? '1'),
    {
      ...(credentials === 'accessToken' && { as: client }),
      ...(credentials === 'refreshToken' && { token: client.refreshToken }),
      ...(route.example && { body: Object.fromEntries(members) }),
    },
  )
}
