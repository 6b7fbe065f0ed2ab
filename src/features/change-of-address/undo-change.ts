import type { Device } from '../../auth/device.ts'
import type { OpenLink } from '../../auth/open-link.ts'
import type { Passwords } from '../../auth/password.ts'
import { AuthError } from '../../errors.ts'
import type { UserStore } from '../../store/users.ts'
import type { AddressStore } from './address-store.ts'

export function createUndoChange(deps: {
  openLink: OpenLink
  users: UserStore
  passwords: Passwords
  addresses: AddressStore
  /** Returns a password that cannot be guessed. */
  randomPassword: () => string
}) {
  const { passwords } = deps

  /**
   * Gives an account the address of the link back. The password becomes unusable, because whoever changed the address
   * knew it. It becomes the hash of a random one, so that a login takes as long as before.
   * @throws AuthError `link_invalid`, `overloaded`, `unavailable`
   */
  return async function undoChange(token: string, device: Device): Promise<void> {
    const link = await deps.openLink(token, 'undo')
    const account = await deps.users.credentialsById(link?.userId ?? undefined)
    if (!link || !account || account.disabled) throw new AuthError('link_invalid')
    const { userId } = account
    const asker = { ...device, account: userId, knownDevice: undefined }
    const unusable = await passwords.hash(deps.randomPassword(), asker)
    const { ip, userAgent } = device
    await deps.addresses.undo({ ...link, userId }, unusable, { ip, userAgent })
  }
}

export type UndoChange = ReturnType<typeof createUndoChange>
