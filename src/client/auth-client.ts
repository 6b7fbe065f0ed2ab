import type { AuthClient, AuthClientOptions } from './api.ts'
import { createClient, type Page } from './client.ts'
import { pageClock } from './clock.ts'

export * from './api.ts'

/**
 * Keeps a login for a page. The access token stays in a closure, the refresh token in a cookie that no script can read.
 * Call `refresh()` when the page has loaded. It restores the login from the cookie.
 * @throws TypeError if `url` or one of `origins` is not an origin
 */
export function createAuthClient(options: AuthClientOptions): AuthClient {
  const server = originOf(options.url)
  const trusted = [server, ...(options.origins ?? []).map(originOf)]
  // Asks for the global `fetch` at each call, because a page may replace it.
  const send: typeof fetch = options.fetch ?? ((input, init) => fetch(input, init))
  return createClient(server, trusted, {
    clock: pageClock,
    random: Math.random,
    send,
    locks: globalThis.navigator?.locks,
    openChannel,
    onWake,
    reportError: (error) => reportError(error),
  })
}

function originOf(url: string): string {
  // Do not resolve against the base of the document, because injected HTML can set it.
  const { origin, pathname } = new URL(url, globalThis.location?.href)
  if (pathname !== '/' || !origin.startsWith('http'))
    throw new TypeError(`${url} is not an origin. Give scheme, host and port.`)
  return origin
}

const openChannel: Page['openChannel'] = (name, receive) => {
  try {
    // Open no channel during server rendering. It would keep the process running.
    const channel = globalThis.document && new BroadcastChannel(name)
    if (channel) channel.onmessage = ({ data }) => receive(data)
    return channel
  } catch {
    return undefined // The browser has no channels, or has switched them off.
  }
}

const onWake: Page['onWake'] = (work) => {
  const closing = new AbortController()
  const wake = ({ persisted: wasFrozen = false }: Event & { persisted?: boolean }) => {
    if (wasFrozen || !globalThis.document?.hidden) work(wasFrozen)
  }
  for (const type of ['online', 'pageshow', 'visibilitychange'])
    globalThis.addEventListener?.(type, wake, { capture: true, signal: closing.signal })
  return () => closing.abort()
}
