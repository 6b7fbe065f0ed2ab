import type { Request, Response } from 'express'
import { z } from 'zod'
import type { AccessClaims } from '../auth/access-token.ts'
import type { OwnLinkOf } from '../auth/link-owner.ts'
import type { OwnLink } from '../store/links.ts'
import type { LinkPurpose } from '../store/schema.ts'
import { accessIfSent } from './bearer.ts'
import { bodyOf, jsonBody, linkToken, password } from './body.ts'
import { sameSite } from './cross-site.ts'
import { deviceOf } from './grant.ts'
import type { CheckServices } from './route.ts'

const body = z.strictObject({ token: linkToken, password: password.optional() }).meta({ id: 'OwnLink' })

/** What a route declares that demands a link and the account of the link. */
export const demandsOwnLink = {
  checks: [sameSite, jsonBody(body)],
  description:
    'Demands the link and the account: an access token, or the password. If there is an access token, it decides alone.',
  optional: 'accessToken',
  example: { token: 'eyJ…', password: 'my dog is called rex' },
  problems: [
    'access_token_missing',
    'access_token_invalid',
    'access_token_expired',
    'session_ended',
    'link_invalid',
    'invalid_credentials',
    'too_many_attempts',
    'overloaded',
    'unavailable',
  ],
} as const

/** Returns the link that a request presents as the owner of its account, and the access token that it sends. */
export async function ownLinkOf(
  req: Request,
  res: Response,
  purpose: LinkPurpose,
  services: CheckServices & { ownLink: OwnLinkOf },
): Promise<{ link: OwnLink; access: AccessClaims | undefined }> {
  const { token, password } = bodyOf(req, body)
  const access = await accessIfSent(req, services)
  const device = deviceOf(req, res, services.cookies)
  return { link: await services.ownLink(token, purpose, { access, password, device }), access }
}
