import ipaddr from 'ipaddr.js'

const loopbackNames = ['localhost', '127.0.0.1', '[::1]']
const localRanges = ['loopback', 'private', 'linkLocal', 'uniqueLocal']

/** Returns whether text is an http or https origin in the form that browsers send. */
export function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin === text && /^https?:[^*]+$/.test(text)
}

/** Returns whether a URL is on this machine. Browsers treat http there like https. */
export const isLocal = (url: string) => loopbackNames.includes(new URL(url).hostname)

/**
 * Returns whether an http origin is on this machine or its local network: *.localhost, *.local, or an address that is
 * loopback, private (RFC 1918, RFC 4193) or link-local. Only development trusts these names and addresses.
 */
export function isOnLocalNetwork(origin: string): boolean {
  if (!isOrigin(origin) || !origin.startsWith('http:')) return false
  const host = new URL(origin).hostname.replace(/^\[|\]$/g, '')
  if (/(?:^|\.)localhost$|\.local$/.test(host)) return true
  return ipaddr.isValid(host) && localRanges.includes(ipaddr.process(host).range())
}

/** Returns the origins of this server. A server on localhost also has the other names of the loopback. */
export function ownOrigins(publicUrl: string): string[] {
  if (!isLocal(publicUrl)) return [publicUrl]
  const { protocol, port } = new URL(publicUrl)
  return loopbackNames.map((name) => `${protocol}//${name}${port && `:${port}`}`)
}

/**
 * Returns a function that tells whether an `Origin` is this server's own.
 * @param localNetwork also accept the server's port at every http name and address of the local network
 */
export function ownOriginRule(publicUrl: string, localNetwork: boolean): (origin: string) => boolean {
  const own = ownOrigins(publicUrl)
  const { port } = new URL(publicUrl)
  return (origin) =>
    own.includes(origin) || (localNetwork && isOnLocalNetwork(origin) && new URL(origin).port === port)
}
