import { type Delay, limitTime, retry } from '../retry.ts'
import { singleFlight } from '../single-flight.ts'
import { SourceError } from './source-error.ts'
import type { SecretStore, StoredVersion } from './stores/secret-store.ts'

const triesPerCall = 3
const callMs = 3_000
const versionsInUse = 10
const maxSecretBytes = 16 * 1024

/** A version with its value. If the version cannot be used, `problem` says why, and the value is empty. */
export interface ReadVersion {
  id: string
  createdAt: number
  value: string
  problem?: string
  /** The error, if the store refused to show this version. */
  denied?: SourceError
}

export type StoredSecret = ReturnType<typeof createStoredSecret>

/**
 * One secret in a store, shared by all references to it. Values never change, so each is read once. Without failures, a
 * store gets one request for the list per secret and load interval. Every call has a time limit, and reads are retried.
 * All functions throw SourceErrors.
 */
export function createStoredSecret(deps: {
  open: () => Promise<SecretStore>
  delay: Delay
  random: () => number
}) {
  const { open, delay, random } = deps
  let opened: SecretStore | undefined
  const store = singleFlight(async () => {
    opened ??= await open()
    return opened
  })
  const known = new Map<string, ReadVersion>()

  async function history(): Promise<StoredVersion[]> {
    const { list } = await store()
    return (await persistently(list)).sort(byAge)
  }

  const versions = singleFlight(async (): Promise<ReadVersion[]> => {
    const enabled = (await history()).filter(({ state }) => state === 'enabled').slice(0, versionsInUse)
    for (const name of known.keys())
      if (!enabled.some((version) => nameOf(version) === name)) known.delete(name)
    const read = (await Promise.all(enabled.map(readOnce))).filter((version) => version !== undefined)
    if (read[0]?.denied && read.every(({ denied }) => denied)) throw read[0].denied
    return read
  })

  async function readOnce(version: StoredVersion): Promise<ReadVersion | undefined> {
    const found = known.get(nameOf(version)) ?? (await readVersion(version))
    // Read a version with a problem again at the next load: the problem may be temporary, or fixed by then.
    if (found && !found.problem) known.set(nameOf(version), found)
    return found
  }

  async function readVersion({ id, createdAt }: StoredVersion): Promise<ReadVersion | undefined> {
    const { read } = await store()
    const unread = { id, createdAt, value: '' }
    try {
      const value = await persistently((signal) => read(id, signal))
      if (Buffer.byteLength(value) <= maxSecretBytes) return { id, createdAt, value }
      return { ...unread, problem: 'is larger than 16 KiB. Write the secret and nothing else.' }
    } catch (error) {
      if (!(error instanceof SourceError)) throw error
      if (error.fault === 'withdrawn') return undefined
      if (error.fault === 'malformed') return { ...unread, problem: error.message }
      // A single version can be encrypted with a key that was deleted.
      if (error.fault === 'denied') return { ...unread, problem: error.message, denied: error }
      throw error
    }
  }

  const inTime = <T>(call: (signal: AbortSignal) => Promise<T>) =>
    limitTime(call, { ms: callMs, onLate: rejectLate, delay })

  const persistently = <T>(call: (signal: AbortSignal) => Promise<T>) =>
    retry(() => inTime(call), {
      pauseMs(error, tries) {
        const isOutage = error instanceof SourceError && error.fault === 'unreachable'
        // Servers that lost the same store should not all come back at the same moment.
        return isOutage && tries < triesPerCall ? 100 * 2 ** tries * (0.5 + random()) : undefined
      },
      delay,
    })

  return {
    /** All versions, newest first, without their values. */
    history,
    /** The newest enabled versions, newest first. */
    versions,
    /** Makes `value` the newest version. Tried once, because a failed call may have written it. */
    async write(value: string): Promise<void> {
      const { write } = await store()
      await inTime((signal) => write(value, signal))
    },
  }
}

function rejectLate(): never {
  throw new SourceError('unreachable', `The store did not answer in ${callMs / 1000} s. Check the store.`)
}

// A secret that was deleted and created again may reuse its ids.
const nameOf = ({ id, createdAt }: { id: string; createdAt: number }) => `${id} of ${createdAt}`

// Versions of the same moment need the same order on every server. Ids that are numbers are compared as numbers.
const byAge = (a: StoredVersion, b: StoredVersion) =>
  b.createdAt - a.createdAt || b.id.localeCompare(a.id, 'en', { numeric: true })
