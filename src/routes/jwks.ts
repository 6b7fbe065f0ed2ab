import type { JsonWebKey } from 'node:crypto'
import { z } from 'zod'
import { route } from '../http/route.ts'

// Half of the time between the publication of a key and its first signature. So a client that caches the response never
// meets a token whose key is not in the response.
const maxAgeSeconds = 30

const keySet = z
  .object({ keys: z.array(z.looseObject({ kty: z.string() })) })
  .meta({ id: 'Jwks', description: 'Public keys (RFC 7517). None under HS256.' })

/** Publishes the keys by which other services verify access tokens. Anybody may read and keep them. */
export const jwks = route({
  method: 'get',
  path: '/.well-known/jwks.json',
  checks: [],
  name: 'jwks',
  group: 'Server',
  summary: 'Get the keys that verify access tokens',
  answers: { 200: { description: 'The public keys.', body: keySet } },

  handler: (services: { publicKeys: () => JsonWebKey[] }) => (_req, res) => {
    res.set('Cache-Control', `public, max-age=${maxAgeSeconds}`)
    res.json(keySet.parse({ keys: services.publicKeys() }))
  },
})
