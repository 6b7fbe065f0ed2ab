// Two Express apps with helmet as src/app.ts has them, in one process: one of them behind requireAccessToken. Plain
// JavaScript and the built modules, so that no loader for TypeScript is in what is measured. Answers every message of
// its parent with the CPU time it has taken so far.
import { createSecretKey, randomBytes, randomUUID } from 'node:crypto'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import express from 'express'
import helmet from 'helmet'

/** @param {string} path */
const built = (path) => import(pathToFileURL(resolve('dist', path)).href)
/** @type {typeof import('../../../src/http/bearer.ts')} */
const { accessToken: check, accessOf } = await built('http/bearer.js')
/** @type {typeof import('../../../src/auth/access-token.ts')} */
const { createAccessTokens } = await built('auth/access-token.js')

const issuer = 'http://localhost:3000'
const secret = createSecretKey(randomBytes(48))
const key = { kid: 'bench', signs: secret, verifies: secret }
const accessTokens = createAccessTokens({
  keys: {
    algorithm: 'HS256',
    signingKey: () => key,
    verificationKey: async (kid) => (kid === key.kid ? secret : undefined),
  },
  issuer,
  audience: issuer,
  lifetimeSeconds: 900,
  clock: Date.now,
  randomId: randomUUID,
})
const requireAccessToken = check.handler(
  /** @type {import('../../../src/http/route.ts').CheckServices} */ (
    /** @type {unknown} */ ({ accessTokens })
  ),
)

/**
 * @param {import('express').RequestHandler[]} handlers
 * @returns {Promise<number>} the port
 */
function listen(...handlers) {
  const app = express()
  app.disable('x-powered-by').disable('etag')
  app.use(
    helmet({
      contentSecurityPolicy: {
        useDefaults: false,
        directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
      },
      strictTransportSecurity: false,
      xFrameOptions: { action: 'deny' },
    }),
  )
  app.get('/', ...handlers)
  return new Promise((done) => {
    const server = app.listen(0, '127.0.0.1', () =>
      done(/** @type {import('node:net').AddressInfo} */ (server.address()).port),
    )
  })
}

const userId = randomUUID()
const open = await listen((_req, res) => void res.json({ for: userId }))
const guarded = await listen(requireAccessToken, (req, res) => void res.json({ for: accessOf(req).userId }))
const inAnHour = new Date(Date.now() + 3_600_000)
const { accessToken: token } = accessTokens.signer()(
  {
    ...{ userId, id: randomBytes(16).toString('base64url') },
    ...{ amr: ['pwd'], authenticatedAt: new Date(), usableUntil: inAnHour },
  },
  'user',
)

process.on('message', () => process.send?.(process.cpuUsage()))
process.on('disconnect', () => process.exit())
process.send?.({ open, guarded, token })
