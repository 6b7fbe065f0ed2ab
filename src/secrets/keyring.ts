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
  /**
   * Replaces all keys by those of `versions`, newest first, and of `previous`, which verify and never sign. A store
   * without a history gives its one value undated: then what it gave before counts as the older versions.
   */
  update(versions: SecretVersion[], previous: SecretVersion[]): void
}

interface StagedKey extends Key {
  createdAt: number
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
      const signer = signing.find((key) => key.signsAt <= options.clock())?.kid
      const dated = withHistory(versions)
      signing = dated.map((key, index) => {
        const successor = dated[index - 1]
        const oldest = index === dated.length - 1
        return {
          ...key,
          signsAt: oldest || key.kid === signer ? 0 : key.createdAt + stagingMs,
          // Another instance may have seen the successor one interval later, and signed that much longer.
          retiresAt: successor ? successor.createdAt + 2 * stagingMs + options.tokenSeconds * 1000 : Infinity,
        }
      })
      const verifying = previous.map(({ value }) => ({
        ...toKey(value),
        createdAt: 0,
        signsAt: Infinity,
        retiresAt: Infinity,
      }))
      byKid = new Map([...verifying, ...signing].map((key) => [key.kid, key]))
    },
  }

  function withHistory(versions: SecretVersion[]): (Key & { createdAt: number })[] {
    return versions.flatMap(({ value, createdAt }) => {
      const key = toKey(value)
      if (createdAt !== undefined) return { ...key, createdAt }
      if (key.kid === signing[0]?.kid) return signing
      const older = signing.filter(({ kid }) => kid !== key.kid)
      return [{ ...key, createdAt: older.length > 0 ? options.clock() : 0 }, ...older]
    })
  }
}

// Bytes of an HMAC under the key itself tell no more than any token signed with it does.
function toKey(secret: string): Key {
  const key = createSecretKey(secret, 'utf8')
  const digest = createHmac('sha256', key).update('kid').digest()
  return { kid: digest.subarray(0, 12).toString('base64url'), key }
}
