// The page to try the server. It shows what a page of yours would do, and more of the token than a page should.
import { AuthClientError, createAuthClient, type User } from './auth-client.ts'
import { browserName } from './browser-name.ts'
import { createLesson } from './demo-lesson.ts'
import { element, text } from './demo-page.ts'
import { claimsOf, showAccessClaims } from './demo-tokens.ts'
import { messages, messagesOf } from './messages.ts'

const reasons: Record<string, string> = {
  restored: 'The cookie has restored your login.',
  elsewhere: 'Another tab has logged in.',
  updated: 'Your account has changed.',
  logout: 'You have logged out.',
  session_ended: messages.session_ended,
  refresh_token_reused: messages.refresh_token_reused,
}

const status = element('status')
const error = element('error')
const countdown = element('countdown')
const logoutButton = element('logout')

// Every request of the client passes here, so that the page can show it. A foreign script in the page could do that too.
async function observed(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const sent = new Headers(init?.headers).get('Authorization')
  if (sent) showToken(sent)
  const answer = await logged(input, init)
  const { accessToken, expiresIn } = await contentOf(answer)
  if (accessToken) showToken(accessToken, Date.now() + expiresIn * 1000)
  if (init?.method === 'POST') void look()
  return answer
}

const contentOf = (answer: Response) =>
  answer
    .clone()
    .json()
    .catch(() => ({}))

/** Sends a request, and shows it in the list as `says`. */
async function logged(
  input: RequestInfo | URL,
  init?: RequestInit,
  says = describe(input, init),
): Promise<Response> {
  const entry = text('li', `${says} …`)
  element('log').prepend(entry)
  const finish = (ending: string, refused = true) => {
    entry.textContent = `${says} → ${ending}`
    entry.classList.toggle('refused', refused)
  }
  try {
    const answer = await fetch(input, init)
    // The response of the lesson contains the status that the thief got.
    const { code, status = answer.status } = await contentOf(answer)
    if (code === 'refresh_token_missing') finish(`${status}: you are not logged in`, false)
    else if (code) finish(`${status} ${code}`)
    else finish(status, !answer.ok)
    return answer
  } catch (failure) {
    finish('no response')
    throw failure
  }
}

function describe(input: RequestInfo | URL, init?: RequestInit): string {
  const { pathname } = new URL(input instanceof Request ? input.url : input, location.href)
  const token = new Headers(init?.headers).has('Authorization')
  const byYou = lesson.isRunning() && pathname === '/auth/refresh' ? ' by you' : ''
  return `${init?.method ?? 'GET'} ${pathname}${byYou}${token ? ' with the access token' : ''}`
}

const auth = createAuthClient({ url: '/', fetch: observed })
// Before the lesson, which scrolls to its next step. The form is hidden by then.
auth.onChange(({ user, reason }) => show(user, reason))
const lesson = createLesson({ auth, send: (path, says) => logged(path, { method: 'POST' }, says) })
const hasLesson = document.documentElement.dataset.lesson === 'on'

async function look(): Promise<void> {
  // A case looks by itself, after each of its steps.
  if (hasLesson && !lesson.isRunning()) await lesson.look().catch(() => {})
}
addEventListener('focus', look) // Another tab may have refreshed.

let expiresAt = 0
function showToken(token: string, end?: number): void {
  const claims = claimsOf(token)
  expiresAt = end ?? claims.exp * 1000
  count()
  showAccessClaims(claims)
}

function count(): void {
  const seconds = Math.round((expiresAt - Date.now()) / 1000)
  countdown.textContent =
    seconds > 0 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : '0 s: it has expired'
}
setInterval(count, 500)

const start = hasLesson ? 'lesson-title' : 'token-title'
let known = false
function show(user: User | undefined, reason: string): void {
  status.textContent = user
    ? `Logged in as ${user.email}. ${reasons[reason] ?? ''}`
    : (reasons[reason] ?? 'You are not logged in.')
  for (const id of ['account', 'logout']) element(id).hidden = !user
  element('entrance').hidden = user !== undefined
  for (const form of document.forms) clearMessages(form)
  // The element with the focus may be hidden now. Move the focus to the visible part. A case keeps the focus.
  if (known && reason !== 'updated' && document.hasFocus() && !lesson.isRunning())
    element(user ? start : 'entrance-title').focus()
  known = true
  if (user) {
    const username = element('change').querySelector('input') as HTMLInputElement
    username.defaultValue = user.email // For password managers.
    void attempt(listSessions)
  } else {
    element('claims').replaceChildren()
    element('list').replaceChildren()
  }
}

async function call(method: string, path: string): Promise<{ sessions: Session[] }> {
  const answer = await auth.fetch(path, { method })
  if (answer.status === 204) return { sessions: [] }
  const content = await answer.json()
  if (!answer.ok) throw new AuthClientError(content.detail, content.code, answer.status)
  return content
}

interface Session {
  id: string
  current: boolean
  createdAt: string
  userAgent: string | null
}

async function listSessions(): Promise<void> {
  const { sessions } = await call('GET', '/auth/sessions')
  element('list').replaceChildren(...sessions.map(sessionItem))
}

function sessionItem({ id, current, createdAt, userAgent }: Session): HTMLElement {
  const item = document.createElement('li')
  const since = new Date(createdAt).toLocaleString([], { dateStyle: 'short', timeStyle: 'short' })
  item.append(text('span', `${browserName(userAgent)}${current ? ' (this one)' : ''}, since ${since}`))
  const end = text('button', 'End')
  end.className = 'quiet'
  end.setAttribute('aria-label', `End the session of ${since}`)
  end.onclick = () =>
    attempt(async () => {
      await call('DELETE', `/auth/sessions/${id}`)
      // If this was the page's own session, the next call fails with `session_ended`.
      await listSessions()
    })
  item.append(end)
  return item
}

// The status says why a login is over, and the page ignores what a login or logout in another tab has overtaken.
const isSaidElsewhere = (failure: unknown) =>
  ['overtaken', 'session_ended'].includes((failure as Partial<AuthClientError>).code ?? '')

// `fetch` rejects with a TypeError if there is no answer.
const problemsOf = (failure: unknown): Record<string, string> =>
  failure instanceof TypeError ? { '': messages.unreachable } : messagesOf(failure)

async function attempt(work: () => Promise<unknown>): Promise<void> {
  error.textContent = ''
  try {
    await work()
  } catch (failure) {
    if (!isSaidElsewhere(failure)) error.textContent = Object.values(problemsOf(failure)).join(' ')
  }
}

function clearMessages(form: HTMLFormElement): void {
  for (const place of form.querySelectorAll('.problem, #changed')) place.textContent = ''
  for (const input of form.querySelectorAll('input')) input.removeAttribute('aria-invalid')
}

/** Shows each problem below its field, moves the focus to the first one, and shows the rest above the buttons. */
async function submit(form: HTMLFormElement, work: () => Promise<unknown>): Promise<void> {
  clearMessages(form)
  error.textContent = ''
  try {
    await work()
    form.reset()
    void attempt(checkCookie)
  } catch (failure) {
    if (isSaidElsewhere(failure)) return
    const rest: string[] = []
    let first: HTMLElement | undefined
    for (const [field, problem] of Object.entries(problemsOf(failure))) {
      const place = form.querySelector(`#${field || 'form'}-problem`)
      const input = form.querySelector<HTMLElement>(`[name="${field}"]:not([hidden])`)
      if (place && input) {
        place.textContent = problem
        input.setAttribute('aria-invalid', 'true')
        first ??= input
      } else rest.push(problem)
    }
    ;(form.querySelector('.form') as HTMLElement).textContent = rest.join(' ')
    first?.focus()
  }
}

/**
 * Says so if this browser did not keep the refresh cookie. The page that the server sends tells whether the server got
 * the cookie.
 */
async function checkCookie(): Promise<void> {
  const page = await (await fetch('/')).text()
  if (auth.user() && page.includes('data-login="none"'))
    error.textContent =
      'This browser did not keep the refresh cookie, so the login ends with this page. Safari and other browsers ' +
      'with WebKit drop Secure cookies on http. Use https, or set COOKIE_SECURE=false for http://localhost.'
}

const given = (form: HTMLFormElement, name: string) => String(new FormData(form).get(name))

element('credentials').onsubmit = (event) => {
  event.preventDefault()
  const form = event.target as HTMLFormElement
  const { value } = (event as SubmitEvent).submitter as HTMLButtonElement
  const enter = value === 'register' ? auth.register : auth.login
  void submit(form, () => enter(given(form, 'email'), given(form, 'password')))
}
element('change').onsubmit = (event) => {
  event.preventDefault()
  const form = event.target as HTMLFormElement
  void submit(form, async () => {
    const { email } = await auth.changePassword(given(form, 'currentPassword'), given(form, 'newPassword'))
    status.textContent = `Logged in as ${email}. The password is changed, and all other sessions have ended.`
    // The status may be outside the window. Screen readers read only the status aloud.
    element('changed').textContent = 'The password is changed.'
    await listSessions()
  })
}
for (const id of ['lesson', 'rotation', 'mailbox']) element(id).hidden = !hasLesson
for (const [id, run] of Object.entries(lesson.cases)) element(id).onclick = () => attempt(run)
element('refresh').hidden = hasLesson // The lesson has its own button, and draws the refresh.
element('refresh').onclick = () => attempt(auth.refresh)
element('me').onclick = () => attempt(() => call('GET', '/users/me'))
element('show').onclick = () => attempt(listSessions)
logoutButton.onclick = () =>
  attempt(async () => {
    const told = auth.logout()
    // Keep the button until the server has ended the session. Without that, the next page would be logged in again.
    logoutButton.hidden = false
    await told
    logoutButton.hidden = true
  })
element('logout-all').onclick = () => attempt(auth.logoutAll)

// Each load loses the token, and the cookie brings it back. Do not ask if the server saw no cookie: browsers report the
// refusal as an error in the console.
void look()
if (document.documentElement.dataset.login === 'none') show(undefined, '')
else void attempt(auth.refresh)
