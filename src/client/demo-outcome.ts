// What a refresh shows: whether the token was rotated, forgiven, or refused.
import { type Place, type Row, refreshRows } from './demo-sequence.ts'

/** How a refresh ended: with the token of a generation, or with the code of a refusal. */
export type Outcome = { kind: 'rotated' | 'graced'; token: number } | { kind: 'reused' } | { kind: 'ended' }

/** Someone who has a copy of the refresh cookie. */
export interface Holder {
  name: string
  place: Place
  /** The generation of the token. */
  holds: () => number
  /** Refreshes. @returns the code of the refusal; nothing after a success */
  refresh: () => Promise<string | undefined>
}

/**
 * Returns how a refresh ended.
 * @param code of the refusal, if there was one
 * @param got the generation of the token that came back
 * @param expected the generation of the session before the refresh
 */
export function outcomeOf(code: string | undefined, got: number, expected: number | undefined): Outcome {
  if (code === undefined) return { kind: got === expected ? 'graced' : 'rotated', token: got }
  if (code === 'refresh_token_reused') return { kind: 'reused' }
  if (code === 'session_ended') return { kind: 'ended' }
  throw new Error(`The refresh was refused: ${code}`)
}

/** Returns the picture of a refresh, and its sentence. */
export function describeRefresh({ name, place }: Holder, sent: number, outcome: Outcome): [Row[], string] {
  const send = place === 0 ? 'send' : 'sends'
  const begin = `${name} ${send} token ${sent}.`
  switch (outcome.kind) {
    case 'rotated':
      return [
        refreshRows(place, sent, { note: `${sent} → ${outcome.token}` }, { what: outcome.token }),
        `${begin} The server makes token ${outcome.token}, and expects that one next. Token ${sent} is used.`,
      ]
    case 'graced':
      return [
        refreshRows(place, sent, { note: `stays ${outcome.token}` }, { what: outcome.token }),
        `${begin} It is used, but the grace window is open. The server sends the same token ${outcome.token} once more.`,
      ]
    case 'reused':
      return [
        refreshRows(place, sent, { note: 'used before!', bad: true }, { what: 'refused', fate: 'refused' }),
        `${begin} It was used before, so two people have it. The server cannot know which one is the thief. It ends the session.`,
      ]
    case 'ended':
      return [
        refreshRows(place, sent, { note: 'session ended', bad: true }, { what: 'refused', fate: 'refused' }),
        `${begin} It is worthless, because the session has ended.`,
      ]
  }
}
