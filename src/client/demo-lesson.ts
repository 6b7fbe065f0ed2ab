// The lesson about refresh tokens: cases that run for real, with the routes that every client uses. A route of the
// lesson shows what is in the cookie, and holds the thief's copy of it. See src/features/demo/lesson.ts.
import type { AuthClient } from './auth-client.ts'
import { describeRefresh, type Holder, type Outcome, outcomeOf } from './demo-outcome.ts'
import { element, text, tokenLabel } from './demo-page.ts'
import { refreshRows, type Sequence, startSequence } from './demo-sequence.ts'
import { type Claims, createComparison } from './demo-tokens.ts'

/** What the server shows of the refresh cookie, and of its session while the session lives. */
interface Seen {
  claims: Claims | null
  session: { generation: number; graceMs: number } | null
  graceSeconds: number
}

const betweenStepsMs = 900
const delay = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/**
 * @param auth the client of the page
 * @param send `fetch`, for requests that the page shows in its list
 */
export function createLesson({ auth, send }: { auth: AuthClient; send: typeof fetch }) {
  const compare = createComparison()
  let seen: Seen = { claims: null, session: null, graceSeconds: 0 }
  let graceEnds = 0
  let running = false
  let lastReason = ''
  auth.onChange(({ reason }) => {
    lastReason = reason
  })

  /** Asks the server what the cookie and its session are now, and shows it. */
  async function look(): Promise<Seen> {
    const answer = await fetch('/demo/lesson/session')
    if (!answer.ok) throw new TypeError('the server did not show the session')
    seen = await answer.json()
    graceEnds = performance.now() + (seen.session?.graceMs ?? 0)
    show()
    return seen
  }

  function show(): void {
    const { claims, session, graceSeconds } = seen
    compare(claims)
    showToken('cookie-token', claims?.gen, '–')
    showToken('generation', session?.generation, claims ? 'ended' : '–')
    for (const place of document.querySelectorAll('.grace-seconds')) place.textContent = String(graceSeconds)
    tick()
  }

  function tick(): void {
    const left = Math.max(0, graceEnds - performance.now())
    const meter = element('grace') as HTMLProgressElement
    meter.max = seen.graceSeconds * 1000 || 1
    meter.value = left
    element('grace-left').textContent = left > 0 ? `open, ${Math.ceil(left / 1000)} s left` : 'closed'
  }
  setInterval(tick, 200)

  async function play(actors: string[], story: (draw: Sequence) => Promise<void>): Promise<void> {
    if (running) return
    if (!auth.user())
      return startSequence([]).conclude('Log in first, or register. Then try a case.', loginLink())
    setRunning(true)
    const draw = startSequence(actors)
    try {
      // A token of a session that has ended elsewhere cannot teach anything.
      await look()
      if (seen.session) await story(draw)
      else await auth.refresh()
    } catch (failure) {
      draw.conclude('The case stopped, because the server did not answer as expected.')
      throw failure
    } finally {
      setRunning(false)
    }
  }

  function setRunning(value: boolean): void {
    running = value
    for (const button of element('lesson').querySelectorAll('button'))
      button.setAttribute('aria-disabled', String(value))
  }

  async function justRefresh(draw: Sequence): Promise<void> {
    await refreshAs(you(), draw)
    draw.conclude('Every token is good for one refresh. This is rotation.')
  }

  async function loseTheAnswer(draw: Sequence): Promise<void> {
    const sent = token()
    // The server sends the request with a copy of the cookie. The answer, with the new cookie, never gets here.
    const copy = await copyCookie()
    await copy.refresh()
    await look()
    draw.step(
      refreshRows(0, sent, { note: `${sent} → ${sent + 1}` }, { what: sent + 1, fate: 'lost' }),
      `You send token ${sent}. The server makes token ${sent + 1}, but the answer never arrives. You still have token ${sent}.`,
    )
    await delay(betweenStepsMs)
    const outcome = await refreshAs(you(), draw)
    if (outcome.kind !== 'graced') return concludeReuse(draw)
    draw.conclude(
      `You stay logged in, and there is only one token ${sent + 1}. Without the grace window, your bad connection would look like a thief.`,
    )
  }

  async function refreshInTwoTabs(draw: Sequence): Promise<void> {
    const sent = token()
    const tab = () => send('/auth/refresh', { method: 'POST' })
    // Without the client of this page, which lets one tab refresh for all.
    const answers = await Promise.all([tab(), tab()])
    const { claims } = await look()
    draw.step(
      [
        [
          { from: 0, to: 1, what: sent },
          { from: 2, to: 1, what: sent },
        ],
      ],
      `Both tabs send token ${sent} at the same moment.`,
    )
    await delay(betweenStepsMs)
    if (!answers.every(({ ok }) => ok) || !claims) {
      await auth.refresh()
      return concludeReuse(draw)
    }
    draw.step(
      [
        { note: claims.gen === sent + 1 ? `${sent} → ${claims.gen}, once` : `${sent} → ${claims.gen}` },
        [
          { from: 1, to: 0, what: claims.gen },
          { from: 1, to: 2, what: claims.gen },
        ],
      ],
      `The server makes token ${claims.gen} for the tab that comes first. The other tab gets the same token ${claims.gen}, because the grace window is open.`,
    )
    draw.conclude('Both tabs go on with the same token. Nobody is logged out.')
  }

  async function stealTheCookie(draw: Sequence, thiefFirst: boolean): Promise<void> {
    const stolen = token()
    const thief = await copyCookie()
    draw.step(
      [[{ from: 0, to: 2, what: stolen, fate: 'copied' }]],
      `The thief copies your cookie. Now two people have token ${stolen}, and the server does not know.`,
    )
    await delay(betweenStepsMs)
    const [first, second] = thiefFirst ? [thief, you()] : [you(), thief]
    for (;;) {
      await refreshAs(first, draw)
      await waitForWindow(draw, second)
      const outcome = await refreshAs(second, draw)
      if (outcome.kind !== 'graced') break
      draw.step(
        [],
        `Now you and the thief both have token ${outcome.token}. To the server, the thief looks like your second tab.`,
      )
      await delay(betweenStepsMs)
    }
    await delay(betweenStepsMs)
    await refreshAs(first, draw)
    concludeReuse(draw)
  }

  async function waitForWindow(draw: Sequence, next: Holder): Promise<void> {
    const used = next.holds()
    const says = `For ${seen.graceSeconds} s the server still accepts token ${used}, because a second tab could send it.`
    // A little longer, because the answer took time to get here.
    const over = () => delay(graceEnds - performance.now() + 200)
    await draw.wait(says, (skipped) =>
      Promise.race([skipped.then(() => 'at once'), over().then(() => `${seen.graceSeconds} s later`)]),
    )
  }

  function concludeReuse(draw: Sequence): void {
    draw.conclude(
      'This is reuse detection. A used token came back, so the server ended the session for everyone. You can log in again with your password. The thief cannot.',
      loginLink(),
    )
  }

  /** Refreshes, and draws what happened. */
  async function refreshAs(who: Holder, draw: Sequence): Promise<Outcome> {
    const sent = who.holds()
    const expected = seen.session?.generation
    const code = await who.refresh()
    await look()
    const outcome = outcomeOf(code, who.holds(), expected)
    draw.step(...describeRefresh(who, sent, outcome))
    return outcome
  }

  const token = () => seen.claims?.gen ?? 0

  const you = (): Holder => ({
    name: 'You',
    place: 0,
    holds: token,
    refresh: async () => ((await auth.refresh()) ? undefined : lastReason),
  })

  /** Makes a copy of the cookie. The server keeps the copy, and refreshes with it when asked. */
  async function copyCookie(): Promise<Holder> {
    const post = async (path: string) => {
      const answer = await send(path, { method: 'POST' })
      if (!answer.ok) throw new TypeError(`${path} was refused`)
      return answer.json()
    }
    const { id, claims } = await post('/demo/lesson/copies')
    let generation: number = claims.gen
    return {
      name: 'The thief',
      place: 2,
      holds: () => generation,
      async refresh() {
        const { code, claims } = await post(`/demo/lesson/copies/${id}/refresh`)
        generation = claims?.gen ?? generation
        return code ?? undefined
      },
    }
  }

  return {
    look,
    isRunning: () => running,
    justRefresh: () => play(['You', 'Server'], justRefresh),
    loseTheAnswer: () => play(['You', 'Server'], loseTheAnswer),
    refreshInTwoTabs: () => play(['Tab 1', 'Server', 'Tab 2'], refreshInTwoTabs),
    stealTheCookie: (thiefFirst: boolean) =>
      play(['You', 'Server', 'Thief'], (draw) => stealTheCookie(draw, thiefFirst)),
  }
}

function showToken(id: string, generation: number | undefined, otherwise: string): void {
  const shown = generation === undefined ? text('span', otherwise) : tokenLabel(generation)
  // A new element appears with an animation.
  if (element(id).textContent !== shown.textContent) element(id).replaceChildren(shown)
}

function loginLink(): HTMLElement {
  const link = text('a', 'Go to the login')
  link.setAttribute('href', '#entrance-title')
  return link
}
