import type { readSettings } from '../../config/config.ts'
import { createKeyring, type KeyStatus } from '../keyring.ts'
import { type LoadedSecrets, neededSecrets, type SecretName, secretNames } from '../load-secrets.ts'
import type { SecretVersion } from '../sources.ts'

/** A line of the table: one version of one secret. */
export interface CheckedVersion {
  variable: string
  source: string
  version: string
  created: string
  state: string
  result: string
}

/**
 * Reads every secret as the server would, and says of each version where it stands.
 * @returns lines for people, without anything of a secret, and what is wrong
 */
export async function checkSecrets({ values, texts, openSource, secrets }: ReturnType<typeof readSettings>) {
  const algorithm = values.JWT_ALGORITHM ?? 'HS256'
  const { versions, problems } = await secrets.load()
  const rows: CheckedVersion[] = []
  for (const name of neededSecrets(algorithm)) {
    if (name.endsWith('_PREVIOUS') && !texts[name]) continue
    const [problem] = problems.filter((other) => other.name === name)
    const result = problem?.message ?? resultOf(versions[name])
    if (!versions[name]) {
      const state = problem?.kind === 'unreachable' ? 'not read' : 'not used'
      rows.push({ variable: name, source: problem?.source ?? '-', version: '-', created: '-', state, result })
      continue
    }
    const source = openSource(texts[name] ?? '')
    const history = await source.history()
    const states = statesOf(name)
    const [newest] = versions[name]
    const only = { id: '', createdAt: newest?.modifiedAt, state: newest ? 'enabled' : 'none' }
    const lines = history.length > 0 ? history : [only]
    for (const [index, { id, createdAt, state }] of lines.entries()) {
      const key = states.find(({ version = '' }) => version === id)
      rows.push({
        variable: index === 0 ? name : '',
        source: index === 0 ? source.label : '',
        version: id || '-',
        created: timeText(createdAt),
        state: key?.state ?? (state === 'enabled' ? 'not used' : state),
        result: index === 0 ? result : '',
      })
    }
  }
  return { rows, problems, versions }

  function statesOf(name: SecretName): KeyStatus[] {
    const access = name.startsWith('JWT_ACCESS')
    const ring = createKeyring({
      refreshSeconds: values.SECRETS_REFRESH_SECONDS ?? 60,
      tokenSeconds: (access ? values.ACCESS_TOKEN_SECONDS : values.SESSION_IDLE_SECONDS) ?? 0,
      clock: Date.now,
      algorithm: access ? algorithm : 'HS256',
    })
    const usable = versions[name] ?? []
    if (name.endsWith('_PREVIOUS')) ring.update([], usable)
    else ring.update(usable, [])
    return ring.states()
  }
}

function resultOf(versions: SecretVersion[] | undefined): string {
  if (!versions) return 'is the same as another one'
  const [newest] = versions
  if (!newest) return 'none yet; the first rotation creates it'
  return newest.warning ? `ok, but ${newest.warning}` : 'ok'
}

/**
 * Compares the age of each secret that signs, or will, with a limit. The age of a file counts from its last change.
 * @returns by variable, those that are older, and those whose source keeps no dates
 */
export function secretAges(versions: LoadedSecrets['versions'], now: number, limitMs: number) {
  const current = secretNames.filter((name) => !name.endsWith('_PREVIOUS') && versions[name]?.[0])
  const madeAt = (name: SecretName) => versions[name]?.[0]?.createdAt ?? versions[name]?.[0]?.modifiedAt
  return {
    old: current.filter((name) => now - (madeAt(name) ?? now) > limitMs),
    undated: current.filter((name) => madeAt(name) === undefined),
  }
}

/** A time in UTC, to the second; a dash where there is none. */
export const timeText = (time: number | undefined) =>
  time === undefined ? '-' : new Date(time).toISOString().slice(0, 19)
