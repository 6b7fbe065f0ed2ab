import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { ClientConfig } from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'
import { codeOf } from '../errors.ts'

/** DATABASE_URL asks for what cannot be. The message says what, and what to do; it shows nothing of the URL but paths. */
export class DatabaseUrlError extends Error {
  constructor(problem: string) {
    super(`DATABASE_URL: ${problem}`)
    this.name = 'DatabaseUrlError'
  }
}

/**
 * Parses DATABASE_URL into what `pg` takes, with the files that it names read.
 * @throws DatabaseUrlError
 */
export function parseDatabaseUrl(text: string): ClientConfig {
  const url = new URL(text)
  for (const name of ['sslrootcert', 'sslcert', 'sslkey']) refuseUnreadable(name, url.searchParams.get(name))
  // The library takes these for verify-full, and prints a warning that it will not do so for ever.
  const mode = url.searchParams.get('sslmode') ?? ''
  if (['prefer', 'require', 'verify-ca'].includes(mode) && !url.searchParams.has('uselibpqcompat'))
    url.searchParams.set('sslmode', 'verify-full')
  try {
    const config = parseIntoClientConfig(url.href)
    const { ca, cert, key } = (config.ssl || {}) as SecureContextOptions
    // Node takes what is no certificate for no authority, and says so of each server later.
    if (typeof ca === 'string') new X509Certificate(ca)
    createSecureContext({ ca, cert, key })
    return config
  } catch (error) {
    throw new DatabaseUrlError(
      `cannot be used (${(error as Error).message}). Check sslmode, and the PEM files of sslrootcert=, sslcert= and sslkey=.`,
    )
  }
}

function refuseUnreadable(name: string, path: string | null): void {
  if (!path) return
  if (name === 'sslrootcert' && path === 'system')
    throw new DatabaseUrlError(
      'sslrootcert=system is not supported. Remove it to trust the authorities that Node knows, or name a file, sslrootcert=/path/to/ca.pem.',
    )
  try {
    readFileSync(path)
  } catch (error) {
    throw new DatabaseUrlError(
      `the file of ${name}= cannot be read (${codeOf(error)}: ${path}). Change the path, or the permissions of the file.`,
    )
  }
}

const certificateCodes = /^(SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_|CERT_|INVALID_|HOSTNAME_|ERR_TLS_)/

/** Returns what to tell where a connection failed because of TLS or its settings; undefined where it did not. */
export function tlsProblem({ code = '', message }: Error & { code?: string }): string | undefined {
  if (/does not support SSL/.test(message))
    return 'the server has TLS turned off, and sslmode asks for it. Turn TLS on there. On a network that you trust, sslmode=disable does without.'
  if (/no encryption|SSL off/.test(message))
    return `the server takes connections with TLS only (${message}). Add sslmode=verify-full.`
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `the server's certificate is for another name (${message}). Connect by a name that it has, or give it a certificate for this one.`
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return `the server's certificate is not valid now (${code}). Renew it, or set the clock.`
  if (certificateCodes.test(code))
    return `the server's certificate is from an authority that is not trusted here (${code}). Name the file of that authority's certificate, sslrootcert=/path/to/ca.pem.`
  if (/^(EPROTO|ERR_SSL_|ERR_OSSL_)/.test(code))
    return `no TLS connection could be agreed on (${code}). Check sslmode=, sslrootcert=, sslcert= and sslkey=.`
  return undefined
}

/** Whether everybody on the network can read or change what is sent: another machine, and no TLS that verifies it. */
export function isExposed({ host, ssl }: ClientConfig): boolean {
  const verified = ssl === true || (typeof ssl === 'object' && ssl.rejectUnauthorized !== false)
  const local = !host || host.startsWith('/') || /^(localhost|127\.[\d.]+|\[?::1\]?)$/.test(host)
  return !verified && !local
}
