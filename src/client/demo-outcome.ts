// What a refresh shows: whether the token was rotated, forgiven, or refused.
import { exchange, type Row } from './demo-sequence.ts'

/** How a refresh ended: with the token of a generation, or with the code of a refusal. */
export type Outcome = { kind: 'rotated' | 'graced'; token: number } | { kind: 'reused' } | { kind: 'ended' }

/** You, or the thief, who has a copy of the refresh cookie. */
export interface Holder {
  place: 0 | 2
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

/** The picture of a login, after the session has ended. */
export const describeLogin: [Row[], string] = [
  exchange(0, 'password', { note: 'new session' }, { what: 1 }),
  'You log in with your password, and get token 1 of a new session. The thief has none of its tokens.',
]

/** Returns the picture of a refresh, and its sentences. */
export function describeRefresh({ place }: Holder, sent: number, outcome: Outcome): [Row[], string] {
  const thief = place === 2
  const picture = (note: string, token?: number) =>
    exchange(
      place,
      sent,
      { note, bad: token === undefined },
      token === undefined ? { what: 'refused', fate: 'refused' } : { what: token },
    )
  const begin = `${thief ? 'The thief sends' : 'You send'}${outcome.kind === 'reused' ? ' the used-up' : ''} token ${sent}`
  switch (outcome.kind) {
    case 'rotated':
      return [
        picture(`${sent} → ${outcome.token}`, outcome.token),
        thief
          ? `${begin}, and gets token ${outcome.token} and an access token. Now the thief can act as you.`
          : `${begin}. The server swaps it for token ${outcome.token}, and adds a new access token.`,
      ]
    case 'graced':
      return [
        picture(`${outcome.token} again`, outcome.token),
        thief
          ? `${begin} too, as your second tab would, and gets token ${outcome.token} unnoticed.`
          : `${begin} again. It was swapped, but the grace window is open. The server sends the same token ${outcome.token} once more.`,
      ]
    case 'reused':
      return [picture('used up!'), `${begin}. Two people may have it, so the server ends the session.`]
    case 'ended':
      return [
        picture('ended'),
        thief
          ? `${begin}. It is worthless, because the session has ended.`
          : `${begin}. The session has ended. Only the sender of the used-up token was warned: the thief.`,
      ]
  }
}
