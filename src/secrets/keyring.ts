import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import type { SecretVersion } from './sources.ts'

/** A key ready for use. `kid` follows from the key, so that instances agree on it without talking to each other. */
export interface Key {
  kid: string
  key: KeyObject
}

/** All keys of one purpose. */
export interface Keyring {
  /** The key to sign with now; undefined where no key is usable. */
  signingKey(): Key | undefined
  /** The key of this `kid`, if it may verify now. */
  verificationKey(kid: string): KeyObject | undefined
  /** Replaces all keys by those of `versions` (newest first), and of `previous`, which verify and never sign. */
  update(versions: SecretVersion[], previous: SecretVersion[]): void
}

interface StagedKey extends Key {
  signsAt: number
  retiresAt: number
}

// Stores round times and loads take time, so a new key waits a little longer than one refresh interval.
const marginMs = 2_000

/**
 * A key lives through published -> signing -> verifying -> retired. The newest version signs once every instance
 * can be expected to have loaded it: one refresh interval and a margin after its creation. The one before it
 * verifies until the longest-lived token that it signed has expired.
 * @param tokenSeconds the longest lifetime of the tokens these keys sign
 */
export function createKeyring(options: {
  refreshSeconds: number
  tokenSeconds: number
  clock: () => number
}): Keyring {
  const stagingMs = options.refreshSeconds * 1000 + marginMs
  let signing: StagedKey[] = []
  let byKid = new Map<string, StagedKey>()

  return {
    signingKey() {
      const now = options.clock()
      return signing.find((key) => key.signsAt <= now)
    },
    verificationKey(kid) {
      const found = byKid.get(kid)
      return found && options.clock() < found.retiresAt ? found.key : undefined
    },
    update(versions, previous) {
      signing = versions.map(({ value, createdAt }, index) => {
        const oldest = index === versions.length - 1
        const successor = versions[index - 1]
        return {
          ...toKey(value),
          signsAt: oldest ? 0 : createdAt + stagingMs,
          retiresAt: successor ? successor.createdAt + stagingMs + options.tokenSeconds * 1000 : Infinity,
        }
      })
      const verifying = previous.map(({ value }) => ({
        ...toKey(value),
        signsAt: Infinity,
        retiresAt: Infinity,
      }))
      byKid = new Map([...verifying, ...signing].map((key) => [key.kid, key]))
    },
  }
}

// Bytes of an HMAC under the key itself tell no more than any token signed with it does.
function toKey(secret: string): Key {
  const key = createSecretKey(secret, 'utf8')
  const digest = createHmac('sha256', key).update('kid').digest()
  return { kid: digest.subarray(0, 12).toString('base64url'), key }
}
