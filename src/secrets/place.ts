import { setTimeout as delay } from 'node:timers/promises'
import { retry } from '../retry.ts'
import { singleFlight } from '../single-flight.ts'
import { SourceError } from './source-error.ts'
import type { SecretStore, StoredVersion } from './store.ts'

const triesPerCall = 3
const callMs = 3_000
const versionsInUse = 10
const maxSecretBytes = 16 * 1024

/** A version with what is in it; where `problem` says why it cannot be used, that is nothing. */
export interface ReadVersion {
  id: string
  createdAt: number
  value: string
  problem?: string
  /** The refusal, where `problem` is one. */
  denied?: SourceError
}

/**
 * One place in a store, read for all references to it at once. Values are read once, as they never change; so in an
 * undisturbed hour a store sees one listing per place and interval.
 */
export function createPlace(open: () => Promise<SecretStore>) {
  let opening: Promise<SecretStore> | undefined
  const known = new Map<string, ReadVersion>()

  function store(): Promise<SecretStore> {
    opening ??= open().catch((error: unknown) => {
      opening = undefined
      throw error
    })
    return opening
  }

  /** All versions, newest first. Throws SourceErrors. */
  async function history(): Promise<StoredVersion[]> {
    const { list } = await store()
    return (await persistently(list)).sort(byAge)
  }

  const versions = singleFlight(async (): Promise<ReadVersion[]> => {
    const enabled = (await history()).filter(({ state }) => state === 'enabled').slice(0, versionsInUse)
    for (const name of known.keys())
      if (!enabled.some((version) => nameOf(version) === name)) known.delete(name)
    const versions = (await Promise.all(enabled.map(readOnce))).filter((version) => version !== undefined)
    if (versions[0] && versions.every(({ denied }) => denied)) throw versions[0].denied
    return versions
  })

  async function readOnce(version: StoredVersion): Promise<ReadVersion | undefined> {
    const found = known.get(nameOf(version)) ?? (await readVersion(version))
    // What could not be read may be fixed, or was a passing fault.
    if (found && !found.problem) known.set(nameOf(version), found)
    return found
  }

  async function readVersion({ id, createdAt }: StoredVersion): Promise<ReadVersion | undefined> {
    const { read } = await store()
    try {
      const value = await persistently((signal) => read(id, signal))
      if (Buffer.byteLength(value) <= maxSecretBytes) return { id, createdAt, value }
      return { id, createdAt, value: '', problem: 'is over 16 KiB; write the secret and nothing else' }
    } catch (error) {
      if (!(error instanceof SourceError)) throw error
      if (error.fault === 'withdrawn') return undefined
      const unread = { id, createdAt, value: '', problem: error.message }
      if (error.fault === 'malformed') return unread
      // One version may be under a key of its own that is no more.
      if (error.fault === 'denied') return { ...unread, denied: error }
      throw error
    }
  }

  return {
    history,
    /** The enabled versions, newest first. Throws SourceErrors. */
    versions,
    /** Tried once: whether it went through is not always to be told. Throws SourceErrors. */
    async write(value: string): Promise<void> {
      const { write } = await store()
      await inTime((signal) => write(value, signal))
    },
  }
}

export type Place = ReturnType<typeof createPlace>

// A secret that was deleted and created again may count its versions from one again.
const nameOf = ({ id, createdAt }: { id: string; createdAt: number }) => `${id} of ${createdAt}`

// Of those of the same moment, the same order on every instance; ids that are numbers count as such.
const byAge = (a: StoredVersion, b: StoredVersion) =>
  b.createdAt - a.createdAt || b.id.localeCompare(a.id, 'en', { numeric: true })

// Every call ends in time, whatever the store's SDK makes of the signal, and an outage is tried again, after a pause
// that differs between instances.
function persistently<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  return retry(() => inTime(call), {
    pauseMs(error, tries) {
      const passing = error instanceof SourceError && error.fault === 'unreachable'
      return passing && tries < triesPerCall ? 100 * 2 ** tries * (0.5 + Math.random()) : undefined
    },
    delay,
  })
}

async function inTime<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController()
  const timer = new AbortController()
  const tooLate = delay(callMs, undefined, { signal: timer.signal }).then(() => {
    late.abort()
    throw new SourceError('unreachable', `its store did not answer in ${callMs / 1000} s; look after it`)
  })
  try {
    return await Promise.race([call(late.signal), tooLate])
  } finally {
    timer.abort()
    tooLate.catch(() => {}) // What is late now, nobody waits for.
  }
}
