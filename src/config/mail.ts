// What the settings of mail say.
import { isIPv4, isIPv6 } from 'node:net'
import { z } from 'zod'

/** How to reach an SMTP server. */
export interface SmtpServer {
  host: string
  port: number
  /** `implicit`: from the first byte. `starttls`: before the login and the mail. `none`: on this machine only. */
  tls: 'implicit' | 'starttls' | 'none'
  login: { user: string; password: string } | undefined
}

/** A mailbox as a header shows it. */
export interface Sender {
  name: string | undefined
  address: string
}

const maxAddressLength = 254

/** Returns whether text is an e-mail address in ASCII that an envelope can hold. */
const isAddress = (text: string) => text.length <= maxAddressLength && z.regexes.html5Email.test(text)

/** Parses MAIL_FROM: an address, or `Name <address>`. Returns undefined for anything else, such as two addresses. */
export function parseSender(text: string): Sender | undefined {
  const [, quoted, plain = '', inBrackets] =
    /^(?:"([^"\\\p{Cc}]{0,100})"|([^"\\<>,;:@\p{Cc}]{0,100}))\s*<([^<>\s]{1,254})>$/u.exec(text.trim()) ?? []
  const address = inBrackets ?? text.trim()
  if (!isAddress(address)) return undefined
  return { name: (quoted ?? plain).trim() || undefined, address }
}

/** The forms of SMTP_URL. */
const forms = 'smtps://user:password@host:465, or smtp://user:password@host:587 for STARTTLS'

/**
 * Parses SMTP_URL.
 * @returns the server, or what is wrong with the URL; never a part of it, because it contains the password
 */
export function parseSmtpUrl(text: string): SmtpServer | string {
  if (!URL.canParse(text))
    return `must be a URL, ${forms}. Percent-encode characters such as @ / # in the password.`
  const url = new URL(text)
  if (!/^smtps?:$/.test(url.protocol)) return `must begin with smtps:// or smtp://: ${forms}`
  if (url.search || url.hash || !/^\/?$/.test(url.pathname))
    return 'must end after the port. Remove the path, the query and the fragment. TLS cannot be switched off.'
  if (!url.username !== !url.password) return 'must have both a user and a password, or neither'
  const login = loginIn(url)
  if (login === 'malformed') return 'has a % in its user or password that encodes nothing. Write %25 for it.'
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase()
  if (!/^[a-z\d]([a-z\d.-]*[a-z\d])?$/.test(host) && !isIPv6(host)) return `must name a host: ${forms}`
  const implicit = url.protocol === 'smtps:'
  const port = Number(url.port || (implicit ? 465 : 587))
  if (port === 0) return 'must have a port from 1 to 65535'
  return { host, port, tls: implicit ? 'implicit' : plainTls(host), login }
}

const plainTls = (host: string) => (isThisMachine(host) ? 'none' : 'starttls')

/** Returns whether a host is this machine. Mail to any other host goes through TLS only. */
const isThisMachine = (host: string) =>
  host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))

function loginIn({ username, password }: URL): SmtpServer['login'] | 'malformed' {
  if (!username) return undefined
  try {
    return { user: decodeURIComponent(username), password: decodeURIComponent(password) }
  } catch {
    return 'malformed'
  }
}
