import type { KeyState } from './key-schedule.ts'
import type { KeyStatus } from './keyring.ts'
import type { LoadedSecrets, SecretName, SecretProblem } from './load-secrets.ts'

/** Something that happened to keys, for the log and the audit. Never contains a part of a secret. */
export interface KeyEvent {
  event: `key_${KeyState['kind'] | 'refused'}` | 'keys_loaded' | 'keys_reload_failed'
  /** The variable of the key or of the problem. */
  secret?: SecretName
  kid?: string
  source?: string
  version?: string
  /** Why the key was retired or refused, or why the secret could not be read. */
  reason?: string
}

/**
 * Reports changes: what is the same as at the last call is not reported again.
 * @param onWarning reports what should be changed about a source that works
 */
export function createKeyEvents(deps: {
  onEvent: (event: KeyEvent) => void
  onWarning: (message: string) => void
}) {
  const { onEvent, onWarning } = deps
  let lastProblems: string[] | undefined
  let lastWarnings: string[] = []
  const lastStates = new Map<SecretName, KeyStatus[]>()

  /** Reports each problem when it begins, and that all secrets were read when the last one ends. */
  function reportProblems(problems: SecretProblem[]): void {
    for (const problem of problems) {
      if (lastProblems?.includes(lineOf(problem))) continue
      const { name, kind, source, message } = problem
      const event = kind === 'refused' ? 'key_refused' : 'keys_reload_failed'
      onEvent({ event, secret: name, ...(source && { source }), reason: message })
    }
    if (problems.length === 0 && lastProblems?.length !== 0) onEvent({ event: 'keys_loaded' })
    lastProblems = problems.map(lineOf)
  }

  /** Reports the warnings of the newest versions. */
  function reportWarnings(versions: LoadedSecrets['versions']): void {
    const warnings = Object.entries(versions).flatMap(([name, [newest]]) =>
      newest?.warning ? [`${name}: ${newest.warning}`] : [],
    )
    for (const warning of warnings) if (!lastWarnings.includes(warning)) onWarning(warning)
    lastWarnings = warnings
  }

  /** Reports the new state of each key of a secret, and the end of keys that are no longer there. */
  function reportStates(secret: SecretName, states: KeyStatus[]): void {
    const last = lastStates.get(secret) ?? []
    lastStates.set(secret, states)
    for (const key of states) {
      const before = last.find(({ kid }) => kid === key.kid)?.state
      if (key.state === before || (key.state === 'retired' && !before)) continue
      reportState(secret, key, key.state === 'retired' ? 'its successor has replaced it' : undefined)
    }
    for (const key of last)
      if (key.state !== 'retired' && !states.some(({ kid }) => kid === key.kid))
        reportState(secret, { ...key, state: 'retired' }, 'its source no longer has it')
  }

  function reportState(secret: SecretName, { state, kid, source, version }: KeyStatus, reason?: string) {
    const about = { secret, kid, source, ...(version && { version }), ...(reason && { reason }) }
    onEvent({ event: `key_${state}`, ...about })
  }

  return { reportProblems, reportWarnings, reportStates }
}

const lineOf = ({ name, message }: SecretProblem) => `${name}: ${message}`
