// The lesson about refresh tokens: cases that run for real, with the routes that every client uses. A route of the
// lesson shows what is in the cookie, and holds the thief's copy of it. See src/features/demo/lesson.ts.
import type { AuthClient } from './auth-client.ts'
import { describeLogin, describeRefresh, type Holder, type Outcome, outcomeOf } from './demo-outcome.ts'
import { continueColours, element, text, tokenLabel } from './demo-page.ts'
import { exchange, type Sequence, startSequence } from './demo-sequence.ts'
import { type Claims, createComparison } from './demo-tokens.ts'

/** What the server shows of the refresh cookie, and of its session while the session lives. */
interface Seen {
  claims: Claims | null
  session: { generation: number; graceMs: number } | null
  graceSeconds: number
}

const reuseDetection =
  'This is reuse detection: a used-up token came back. The server cannot know who is the thief, so it ended the session for both.'

const graceHides =
  'Within the grace window, a thief looks like a second tab, until one of you sends a used-up token. So the window is short.'
const falseAlarm = 'Without a grace window, this looks like a theft, and the server ends the session.'

/**
 * @param auth the client of the page
 * @param send posts to `path`. `says` is the text of the request in the list of the page
 */
export function createLesson({
  auth,
  send,
}: {
  auth: AuthClient
  send: (path: string, says: string) => Promise<Response>
}) {
  const compare = createComparison()
  let seen: Seen = { claims: null, session: null, graceSeconds: 0 }
  let hadSession = false
  let graceEnds = 0
  let running = false
  const buttons = element('lesson').querySelectorAll('button')
  const timer = text('span', '')
  timer.role = 'timer' // Not read aloud.
  let lastReason = ''
  /** The drawing of a session that has ended. The next login is its last step. */
  let unfinished: Sequence | undefined
  auth.onChange(({ user, reason }) => {
    lastReason = reason
    if (!user || reason === 'updated' || running) return
    if (!unfinished) return void begin('', [])
    continueColours()
    void unfinished.step(...describeLogin)
    unfinished = undefined
    element('sequence').querySelector('a')?.remove()
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
    hadSession ||= session !== null
    compare(claims)
    replace('cookie-token', claims ? [tokenLabel(claims.gen)] : ['none'])
    replace('session', session ? [tokenLabel(session.generation)] : [hadSession ? 'session ended' : 'none'])
    for (const place of document.querySelectorAll('.grace-seconds')) place.textContent = String(graceSeconds)
    tick()
  }

  function tick(): void {
    const left = Math.max(0, graceEnds - performance.now())
    const meter = element('grace') as HTMLProgressElement
    meter.max = seen.graceSeconds * 1000 || 1
    meter.value = left
    const now = seen.session?.generation ?? 0
    const seconds = `${Math.ceil(left / 1000)} s`
    element('grace-left').textContent =
      left > 0 ? `token ${now - 1} gets token ${now} for ${seconds} more` : 'closed'
    timer.textContent = seconds
  }
  setInterval(tick, 200)

  /** Clears the drawing, and marks the button of the case that begins. */
  function begin(id: string, actors: string[]): Sequence {
    unfinished = undefined
    for (const button of buttons) button.setAttribute('aria-current', String(button.id === id))
    return startSequence(actors)
  }

  async function play(id: string, actors: string[], story: (draw: Sequence) => Promise<void>): Promise<void> {
    if (running) return
    if (!auth.user()) return begin('', []).conclude('', 'Log in first, or register.')
    const draw = begin(id, actors)
    setRunning(true)
    try {
      // If the session has ended elsewhere, its token is useless for a case.
      await look()
      if (seen.session) await story(draw)
      else await auth.refresh()
    } catch (failure) {
      draw.conclude('The demo stopped, because the server did not respond as expected.')
      throw failure
    } finally {
      setRunning(false)
    }
  }

  function setRunning(value: boolean): void {
    running = value
    for (const button of buttons) button.setAttribute('aria-disabled', String(value))
  }

  async function youRefresh(draw: Sequence): Promise<void> {
    const sent = token()
    await refreshAs(you, draw)
    draw.conclude(
      `This is rotation: each refresh swaps the refresh token. After ${seen.graceSeconds} s, or after the next swap, token ${sent} is used up.`,
    )
  }

  async function answerLost(draw: Sequence): Promise<void> {
    const sent = token()
    // The server sends the request with a copy of the cookie. The response, with the new cookie, never gets here.
    const copy = await copyCookie('POST /auth/refresh, and the response gets lost')
    await copy.refresh()
    await look()
    await draw.step(
      exchange(0, sent, { note: `${sent} → ${sent + 1}` }, { what: sent + 1, fate: 'lost' }),
      `You send token ${sent}. The server swaps it for token ${sent + 1}, but the response gets lost. You still have token ${sent}.`,
    )
    const outcome = await refreshAs(you, draw)
    if (outcome.kind !== 'graced') return concludeReuse(draw, falseAlarm)
    draw.conclude(
      `You stay logged in. If you were offline for more than ${seen.graceSeconds} s, this would look like a theft, and the session would end.`,
    )
  }

  async function twoTabs(draw: Sequence): Promise<void> {
    const sent = token()
    const tab = (name: string) => send('/auth/refresh', `POST /auth/refresh by ${name}`)
    // Without the client of this page, which lets one tab refresh for all.
    const answers = await Promise.all([tab('tab 1'), tab('tab 2')])
    const { claims } = await look()
    await draw.step(
      [
        [
          { from: 0, to: 1, what: sent },
          { from: 2, to: 1, what: sent },
        ],
      ],
      `Both tabs send token ${sent} at the same moment.`,
    )
    if (!answers.every(({ ok }) => ok) || !claims) {
      await auth.refresh()
      return concludeReuse(draw, falseAlarm)
    }
    await draw.step(
      [
        [{ note: claims.gen === sent + 1 ? `${sent} → ${claims.gen}, once` : `${sent} → ${claims.gen}` }],
        [
          { from: 1, to: 0, what: claims.gen },
          { from: 1, to: 2, what: claims.gen },
        ],
      ],
      `The first tab gets token ${claims.gen}. The other tab gets the same token ${claims.gen}, because the grace window is open.`,
    )
    draw.conclude(
      'You stay logged in, with one token. Two different tokens would be two branches, and a thief could hide in one.',
    )
  }

  async function thiefFirst(draw: Sequence): Promise<void> {
    await useUp(await steal(draw), you, draw)
    concludeReuse(draw, reuseDetection)
  }

  async function youFirst(draw: Sequence): Promise<void> {
    await useUp(you, await steal(draw), draw)
    concludeReuse(draw, reuseDetection)
  }

  async function withinWindow(draw: Sequence): Promise<void> {
    const thief = await steal(draw)
    await refreshAs(you, draw)
    const unnoticed = (await refreshAs(thief, draw)).kind === 'graced'
    if (unnoticed) await useUp(thief, you, draw)
    else await refreshAs(you, draw)
    concludeReuse(draw, unnoticed ? graceHides : reuseDetection)
  }

  async function steal(draw: Sequence): Promise<Holder> {
    const stolen = token()
    const thief = await copyCookie('POST /auth/refresh by the thief')
    await draw.step(
      [[{ from: 0, to: 2, what: stolen, fate: 'copied' }]],
      `The thief copies your cookie, for example with malware. Now both of you have token ${stolen}.`,
    )
    return thief
  }

  /** Both have the same token. The first one refreshes. The second one sends the token after the grace window. */
  async function useUp(first: Holder, second: Holder, draw: Sequence): Promise<void> {
    const old = second.holds()
    await refreshAs(first, draw)
    await draw.wait(
      // A little longer, because the response took time to get here.
      new Promise((resolve) => setTimeout(resolve, graceEnds - performance.now() + 200)),
      old,
      timer,
      `${seen.graceSeconds} s later`,
    )
    await refreshAs(second, draw)
    await refreshAs(first, draw)
  }

  function concludeReuse(draw: Sequence, says: string): void {
    if (seen.session) throw new Error('the session has not ended')
    draw.conclude(says, 'Only you can log in again.')
    unfinished = draw
  }

  /** Refreshes, and draws what happened. */
  async function refreshAs(who: Holder, draw: Sequence): Promise<Outcome> {
    const sent = who.holds()
    const expected = seen.session?.generation
    const code = await who.refresh()
    await look()
    const outcome = outcomeOf(code, who.holds(), expected)
    await draw.step(...describeRefresh(who, sent, outcome))
    return outcome
  }

  const token = () => seen.claims?.gen ?? 0

  const you: Holder = {
    place: 0,
    holds: token,
    refresh: async () => ((await auth.refresh()) ? undefined : lastReason),
  }

  /** Makes a copy of the cookie. The server keeps the copy, and refreshes with it when asked. */
  async function copyCookie(says: string): Promise<Holder> {
    const read = async (answer: Response) => {
      if (!answer.ok) throw new TypeError(`${answer.url} was refused`)
      return answer.json()
    }
    const { id, claims } = await read(await fetch('/demo/lesson/copies', { method: 'POST' }))
    let generation: number = claims.gen
    return {
      place: 2,
      holds: () => generation,
      async refresh() {
        const { code, claims } = await read(await send(`/demo/lesson/copies/${id}/refresh`, says))
        generation = claims?.gen ?? generation
        return code ?? undefined
      },
    }
  }

  const withThief = ['You', 'Server', 'Thief']
  return {
    look,
    isRunning: () => running,
    /** The cases, by the id of their button. */
    cases: {
      'you-refresh': () => play('you-refresh', ['You', 'Server'], youRefresh),
      'answer-lost': () => play('answer-lost', ['You', 'Server'], answerLost),
      'two-tabs': () => play('two-tabs', ['Tab 1', 'Server', 'Tab 2'], twoTabs),
      'thief-first': () => play('thief-first', withThief, thiefFirst),
      'you-first': () => play('you-first', withThief, youFirst),
      'within-window': () => play('within-window', withThief, withinWindow),
    },
  }
}

/** Shows parts in an element. They appear with an animation if they are new. */
function replace(id: string, parts: (string | HTMLElement)[]): void {
  const shown = text('span', '')
  shown.append(...parts)
  if (element(id).textContent !== shown.textContent) element(id).replaceChildren(shown)
}
