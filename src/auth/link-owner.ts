import { AuthError } from '../errors.ts'
import type { OwnLink } from '../store/links.ts'
import type { LinkPurpose } from '../store/schema.ts'
import type { AccessClaims } from './access-token.ts'
import type { Device } from './device.ts'
import type { GuessDeps } from './guess.ts'
import type { OpenLink } from './open-link.ts'

/** Who presents a link, as the owner of its account: with an access token, or with the password. */
export interface Presenter {
  /** Decides alone if there is one. */
  access: AccessClaims | undefined
  password: string | undefined
  device: Device
}

/**
 * Demands both the mailbox and the account: the token of a link, and the access token or the password of its account. So
 * the owner of an address does not verify an account that a stranger made with it.
 */
export function createLinkOwner(deps: GuessDeps & { openLink: OpenLink }) {
  const { users, passwords } = deps

  /**
   * Returns the link if its account presents it. The link stays unused. Its use ends all the same if the account
   * changes before then.
   * @throws AuthError `session_ended`, `link_invalid`, `invalid_credentials`, `too_many_attempts`, `overloaded`,
   * `unavailable`
   */
  return async function ownLink(
    token: string,
    purpose: LinkPurpose,
    { access, password, device }: Presenter,
  ): Promise<OwnLink> {
    if (!access) return byPassword(token, purpose, password, device)
    const session = await deps.sessions.find(access.sessionId, access.userId)
    if (!session) throw new AuthError('session_ended')
    const link = await deps.openLink(token, purpose)
    if (!link || link.userId !== access.userId) throw new AuthError('link_invalid')
    return { ...link, userId: access.userId }
  }

  async function byPassword(
    token: string,
    purpose: LinkPurpose,
    password: string | undefined,
    device: Device,
  ): Promise<OwnLink> {
    passwords.refuseIfFull({ ...device, account: token, knownDevice: device.deviceToken })
    const { ip, userAgent } = device
    const link = await deps.openLink(token, purpose)
    const account = await users.credentialsById(link?.userId ?? undefined)
    const userId = account?.userId
    const knownDevice = await deps.deviceTokens.verify(device.deviceToken, account)
    const guesser = { ...device, account: userId ?? `link ${token}`, userId, knownDevice }

    const own = await deps.throttle.guess(guesser, async () => {
      if (!link || !account || account.disabled) throw new AuthError('link_invalid')
      if (password === undefined) throw new AuthError('invalid_credentials')
      const match = await passwords.verify(password, account, guesser)
      return match ? { ...link, userId: account.userId } : undefined
    })
    if (own) return own
    await deps.audit.record({ event: 'login_failed', userId, ip, userAgent })
    throw new AuthError('invalid_credentials')
  }
}

export type OwnLinkOf = ReturnType<typeof createLinkOwner>
