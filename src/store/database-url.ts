import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { ClientConfig } from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'
import { codeOf } from '../errors.ts'

/**
 * DATABASE_URL cannot work. The message says why and what to do. It shows no part of the URL except file paths and the
 * host.
 */
export class DatabaseUrlError extends Error {
  constructor(problem: string) {
    super(`DATABASE_URL: ${problem}`)
    this.name = 'DatabaseUrlError'
  }
}

/**
 * Parses DATABASE_URL into settings of `pg`, and reads the files that it names.
 * @throws DatabaseUrlError
 */
export function parseDatabaseUrl(text: string): ClientConfig {
  const url = new URL(text)
  for (const name of ['sslrootcert', 'sslcert', 'sslkey']) refuseUnreadable(name, url.searchParams.get(name))
  // The library treats these as verify-full, but prints a warning that this will change.
  const mode = url.searchParams.get('sslmode') ?? ''
  if (['prefer', 'require', 'verify-ca'].includes(mode) && !url.searchParams.has('uselibpqcompat'))
    url.searchParams.set('sslmode', 'verify-full')
  try {
    const config = parseIntoClientConfig(url.href)
    const { ca, cert, key } = (config.ssl || {}) as SecureContextOptions
    // Node ignores a file that is not a certificate, and would later reject every server's certificate.
    if (typeof ca === 'string') new X509Certificate(ca)
    createSecureContext({ ca, cert, key })
    return config
  } catch (error) {
    throw new DatabaseUrlError(
      `its TLS settings do not work (${(error as Error).message}). Check sslmode, and the PEM files of sslrootcert=, sslcert= and sslkey=.`,
    )
  }
}

function refuseUnreadable(name: string, path: string | null): void {
  if (!path) return
  if (name === 'sslrootcert' && path === 'system')
    throw new DatabaseUrlError(
      'sslrootcert=system is not supported. Remove it to trust the authorities that Node knows, or name a file: sslrootcert=/path/to/ca.pem.',
    )
  try {
    readFileSync(path)
  } catch (error) {
    throw new DatabaseUrlError(
      `cannot read the file of ${name}= (${codeOf(error)}: ${path}). Change the path, or the permissions of the file.`,
    )
  }
}

const certificateCodes = /^(SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_|CERT_|INVALID_|HOSTNAME_|ERR_TLS_)/

/** Returns what to do if a connection failed because of TLS, or undefined if it failed for another reason. */
export function tlsProblem({ code = '', message }: Error & { code?: string }): string | undefined {
  if (/does not support SSL/.test(message))
    return 'the server has TLS turned off, but sslmode asks for it. Turn TLS on there. On a network that you trust, set sslmode=disable.'
  if (/no encryption|SSL off/.test(message))
    return `the server accepts connections with TLS only (${message}). Add sslmode=verify-full.`
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `the server's certificate is for another name (${message}). Connect by a name in the certificate, or give the server a certificate for this name.`
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return `the server's certificate is not valid now (${code}). Renew the certificate, or set the clock.`
  if (certificateCodes.test(code))
    return `the server's certificate is from an authority that this machine does not trust (${code}). Name the file of the authority's certificate: sslrootcert=/path/to/ca.pem.`
  if (/^(EPROTO|ERR_SSL_|ERR_OSSL_)/.test(code))
    return `the TLS handshake failed (${code}). Check sslmode=, sslrootcert=, sslcert= and sslkey=.`
  return undefined
}

/** Returns whether others on the network can read or change the data: a remote machine without verified TLS. */
export function isExposed({ host, ssl }: ClientConfig): boolean {
  const verified = ssl === true || (typeof ssl === 'object' && ssl.rejectUnauthorized !== false)
  const local = !host || host.startsWith('/') || /^(localhost|127\.[\d.]+|\[?::1\]?)$/.test(host)
  return !verified && !local
}
