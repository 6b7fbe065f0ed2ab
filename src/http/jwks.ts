import type { JsonWebKey } from 'node:crypto'
import type { RequestHandler } from 'express'

// Half of the time for which a key is published before it signs: nobody who keeps the answer meets a token too new.
const maxAgeSeconds = 30

/** `/.well-known/jwks.json`: what other services verify access tokens by (RFC 7517). For everybody to read and keep. */
export function jwks(publicKeys: () => JsonWebKey[]): RequestHandler {
  return (_req, res) => {
    res.set('Cache-Control', `public, max-age=${maxAgeSeconds}`)
    res.json({ keys: publicKeys() })
  }
}
