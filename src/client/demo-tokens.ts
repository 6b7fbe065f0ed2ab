// Shows the claims of tokens. The tokens themselves are nowhere in the page.
import { element, text } from './demo-page.ts'

export type Claims = Record<string, unknown> & { sid: string; gen: number; jti: string }

const meanings: Record<string, string> = {
  iss: 'server',
  aud: 'audience',
  sub: 'user',
  sid: 'session',
  gen: 'number',
  jti: 'id',
  iat: 'issued',
  exp: 'expires',
}
const meaningOf = (name: string) => `${meanings[name] ?? ''} (${name})`

/** Shows what changed between the last two refresh tokens. After a logout, the last change stays visible. */
export function createComparison() {
  let before: Claims | undefined
  let now: Claims | undefined

  return function show(claims: Claims | null): void {
    if (!claims && now)
      element('unchanged').textContent = 'The session has ended, so the server has deleted this cookie.'
    if (!claims || claims.jti === now?.jti) return
    before = claims.sid === now?.sid ? now : undefined
    now = claims
    const names = Object.keys(claims)
    const changed = names.filter((name) => before && before[name] !== claims[name])
    element('comparison').replaceChildren(
      ...changed.map((name) => row(name, textOf(name, before?.[name]), textOf(name, claims[name]))),
    )
    element('unchanged').textContent = before
      ? `The rest is the same: ${names
          .filter((name) => !changed.includes(name))
          .map(meaningOf)
          .join(', ')}.`
      : `This is token ${claims.gen} of its session. After a refresh, this page shows which claims, its parts, have changed.`
  }
}

function row(name: string, before: string, now: string): HTMLElement {
  const made = document.createElement('tr')
  const head = text('th', meaningOf(name))
  head.setAttribute('scope', 'row')
  made.append(head, text('td', before), text('td', now))
  return made
}

/** Shows all claims of an access token. */
export function showAccessClaims(claims: Record<string, unknown>): void {
  element('claims').replaceChildren(
    ...Object.entries(claims).flatMap(([name, value]) => [text('dt', name), text('dd', textOf(name, value))]),
  )
}

/** Returns what an access token says. Pages must not rely on it: only the server can check a token. */
export function claimsOf(token: string): Record<string, unknown> & { exp: number } {
  const [, payload = ''] = token.split('.')
  return JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')))
}

const dateAndTime = {
  month: 'numeric',
  day: 'numeric',
  hour: 'numeric',
  minute: 'numeric',
  second: 'numeric',
  hourCycle: 'h23',
} as const

function textOf(name: string, value: unknown): string {
  if (name === 'jti') return String(value).replace(/^(.{4}).+(.{4})$/, '$1…$2')
  if (name !== 'iat' && name !== 'exp') return String(value)
  return new Date(Number(value) * 1000).toLocaleString([], dateAndTime)
}
