import type { LoginKeeper } from './login.ts'
import type { Refresher } from './refresh.ts'
import { codeOf, overtaken } from './requests.ts'

/** The refusals that a new access token may fix. */
export const refreshable = ['access_token_expired', 'access_token_invalid', 'session_ended']

/** What is sent. No script can change it any more. */
interface Outgoing {
  target: Request | string
  origin: string
  options: RequestInit & { headers: Headers }
  signal: AbortSignal | null | undefined
  /** Whether the body is a stream that can be sent once only. Asked after sending. */
  isGone: () => boolean
}

/** Returns `fetch` with the access token for requests to `trusted` origins. */
export function createAuthFetch(
  deps: {
    server: string
    trusted: readonly string[]
    send: typeof fetch
    login: Pick<LoginKeeper, 'epoch' | 'grant' | 'user'>
  } & Pick<Refresher, 'ready' | 'refresh' | 'trouble'>,
) {
  const { server, trusted, send, login, ready, refresh, trouble } = deps
  const tokenNow = () => login.grant()?.accessToken

  async function authFetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const outgoing = readOnce(input, init, server)
    const { target, origin, options } = outgoing
    if (!trusted.includes(origin) || options.headers.has('Authorization')) return send(target, options)
    const asker = login.user()?.id
    const first = await sendAs(asker, outgoing)
    if (!(await canSendAgain(outgoing, first))) return first.answer
    return (await sendAs(asker, outgoing)).answer
  }

  /** Sends the request with the token, if there is one. Rejects if the user changes before the answer. */
  async function sendAs(asker: string | undefined, { target, options, signal }: Outgoing) {
    await unlessAborted(ready(), signal)
    if (asker && login.user()?.id !== asker) throw overtaken()
    const epoch = login.epoch()
    const token = tokenNow()
    if (token) options.headers.set('Authorization', `Bearer ${token}`)
    const answer = await send(target, options)
    if (token && answer.status !== 401 && login.epoch() !== epoch) throw overtaken()
    return { answer, token, epoch }
  }

  /** After a 401 that a new token may fix, gets the new token. */
  async function canSendAgain(
    { signal, isGone }: Outgoing,
    { answer, token, epoch }: Awaited<ReturnType<typeof sendAs>>,
  ): Promise<boolean> {
    if (!token || answer.status !== 401 || !refreshable.includes(await codeOf(answer))) return false
    const hasNewToken = () => tokenNow() !== token
    if (!hasNewToken() && !trouble()) {
      const refreshed = refresh().catch(() => {})
      await unlessAborted(refreshed, signal)
    }
    return !isGone() && login.epoch() === epoch && hasNewToken()
  }

  return authFetch
}

/**
 * Reads everything once, before any wait. What is checked is what is sent, even if a script or injected HTML changes the
 * arguments later.
 */
function readOnce(input: string | URL | Request, init: RequestInit | undefined, server: string): Outgoing {
  // Not `instanceof`, because the Request may belong to another window.
  const request = typeof input === 'object' && 'url' in input ? new Request(input) : undefined
  const { href, origin } = new URL(request?.url ?? String(input), server)
  const options = { ...init, headers: new Headers(init?.headers ?? request?.headers) }
  return {
    target: request ?? href,
    // A `blob:` URL has the origin of its page, but is not sent there.
    origin: href.startsWith(origin) ? origin : '',
    options,
    signal: options.signal ?? request?.signal,
    // No API tells whether the body of a Request was a stream.
    isGone: () => request?.bodyUsed || options.body instanceof ReadableStream,
  }
}

/** Waits for `work`, or rejects as `fetch` does when the signal aborts. */
function unlessAborted(work: Promise<unknown>, signal: Outgoing['signal']): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal?.reason)
    if (signal?.aborted) abort()
    signal?.addEventListener('abort', abort)
    work.then(resolve, reject).finally(() => signal?.removeEventListener('abort', abort))
  })
}
