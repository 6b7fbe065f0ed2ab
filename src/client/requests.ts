import { AuthClientError, type User } from './api.ts'
import type { Clock } from './clock.ts'
import type { Grant } from './login.ts'

/** Two tries and the pause between them fit into the grace window, ten seconds by default. */
export const refreshMs = 4_000
const requestMs = 15_000
const longestRetryAfterMs = 60_000

type Content = Record<string, unknown>

/** Makes the requests that change the cookie. */
export function createRequests(deps: { server: string; send: typeof fetch; clock: Clock }) {
  const { server, send, clock } = deps
  /** @returns the members of the JSON body, none after a 204 */
  async function ask(
    path: string,
    { ms = requestMs, body, through = send }: { ms?: number; body?: object; through?: typeof fetch } = {},
  ): Promise<Content> {
    let answer: Response
    let text: string
    try {
      answer = await through(server + path, {
        method: 'POST',
        credentials: 'include',
        cache: 'no-store',
        redirect: 'error',
        // The answer must reach the cookies, even if the tab is closed in the meantime.
        keepalive: true,
        signal: AbortSignal.timeout(ms),
        ...(body && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
      })
      text = await answer.text()
    } catch (error) {
      if (error instanceof AuthClientError) throw error
      throw new AuthClientError(`No answer from the server (${error}).`, 'unreachable')
    }
    const content = parse(text)
    if (answer.status === 204 || (answer.ok && content)) return content ?? {}
    throw answer.ok ? unexpected(answer.status) : refusal(answer, content)
  }

  async function askForGrant(path: string, options: Parameters<typeof ask>[1]): Promise<Grant> {
    const asked = clock.now()
    const { accessToken, expiresIn, user } = await ask(path, options)
    if (typeof accessToken !== 'string' || !isUser(user) || !isPositive(expiresIn)) throw unexpected(200)
    return { accessToken, user, asked, lifetime: expiresIn * 1000 }
  }

  return { ask, askForGrant }
}

export type Requests = ReturnType<typeof createRequests>

export const overtaken = () => new AuthClientError('Another login or logout came first.', 'overtaken')

const unexpected = (status: number) =>
  new AuthClientError(`No answer from the server (${status}).`, 'unexpected_answer', status)

function refusal({ status, headers }: Response, { code, detail, errors }: Content = {}) {
  if (typeof code !== 'string') return unexpected(status)
  const retryAfter = Math.min(longestRetryAfterMs, Number(headers.get('Retry-After')) * 1000 || 0)
  const list = Array.isArray(errors) ? errors : []
  return new AuthClientError(String(detail ?? code), code, status, list, retryAfter)
}

const isPositive = (value: unknown): value is number => typeof value === 'number' && value > 0
const isUser = (value: unknown): value is User => typeof Object(value).id === 'string'

/** Returns the code of a problem document, and leaves the answer readable. */
export async function codeOf(answer: Response): Promise<string> {
  if (!answer.headers.get('Content-Type')?.includes('json')) return ''
  return String(parse(await answer.clone().text())?.code)
}

function parse(text: string): Content | undefined {
  try {
    const content: unknown = JSON.parse(text)
    return content instanceof Object ? { ...content } : undefined
  } catch {
    return undefined
  }
}
