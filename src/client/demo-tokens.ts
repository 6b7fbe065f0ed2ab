// Shows the claims of tokens. The tokens themselves are nowhere in the page.
import { element, text } from './demo-page.ts'

export type Claims = Record<string, unknown> & { sid: string; gen: number; jti: string }

/** Shows the claims of the refresh token, beside those of the one before. */
export function createComparison() {
  let before: Claims | undefined
  let now: Claims | undefined

  return function show(claims: Claims | null): void {
    if (claims?.jti === now?.jti) return
    before = claims?.sid === now?.sid ? now : undefined
    now = claims ?? undefined
    element('comparison').replaceChildren(
      ...Object.entries(claims ?? {}).map(([name, value]) => compare(name, before?.[name], value)),
    )
  }
}

function compare(name: string, before: unknown, now: unknown): HTMLElement {
  const row = document.createElement('tr')
  const head = text('th', name)
  head.setAttribute('scope', 'row')
  row.append(head)
  if (before === now || before === undefined) {
    const both = text('td', textOf(name, now))
    both.setAttribute('colspan', '2')
    row.append(both)
  } else {
    const changed = document.createElement('td')
    changed.append(text('mark', textOf(name, now)))
    row.append(text('td', textOf(name, before)), changed)
  }
  return row
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

const isTime = (name: string) => name === 'iat' || name === 'exp'

const textOf = (name: string, value: unknown) =>
  isTime(name)
    ? new Date(Number(value) * 1000).toLocaleString([], { dateStyle: 'short', timeStyle: 'medium' })
    : String(value)
