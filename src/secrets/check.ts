import type { readSettings } from '../config.ts'
import { createKeyring, type KeyStatus } from './keyring.ts'
import { neededSecrets, type SecretName } from './secrets.ts'

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
    const result = problem ? problem.message : versions[name] ? 'ok' : 'is the same as another one'
    if (!versions[name]) {
      const state = problem?.kind === 'unreachable' ? 'not read' : 'not used'
      rows.push({ variable: name, source: problem?.source ?? '-', version: '-', created: '-', state, result })
      continue
    }
    const source = openSource(texts[name] ?? '')
    const history = await source.history()
    const states = statesOf(name)
    const lines = history.length > 0 ? history : [{ id: '', createdAt: undefined, state: 'enabled' }]
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
  return { rows, problems }

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

/** A time in UTC, to the second; a dash where there is none. */
export const timeText = (time: number | undefined) =>
  time === undefined ? '-' : new Date(time).toISOString().slice(0, 19)
