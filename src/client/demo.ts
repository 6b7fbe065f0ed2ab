// The page to try the server. It shows what a page of yours would do, and more of the token than one should.
import { AuthClientError, createAuthClient, type User } from './auth-client.ts'

const reasons: Record<string, string> = {
  login: 'This page has just logged in.',
  restored: 'The login has come back by the cookie.',
  elsewhere: 'Another tab has logged in.',
  logout: 'Logged out.',
  session_ended: 'The session was ended, or has run out.',
  refresh_token_reused:
    'Your login was used elsewhere too, so it was ended. If that was not you, change your password.',
}

const element = (id: string) => document.getElementById(id) as HTMLElement
const status = element('status')
const error = element('error')
const countdown = element('countdown')

// Every request of the client passes here, so that the page can show it. A script of somebody else's could do that too.
async function logged(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const { pathname } = new URL(input instanceof Request ? input.url : input, location.href)
  const entry = document.createElement('li')
  const token = new Headers(init?.headers).get('Authorization')
  const line = `${new Date().toLocaleTimeString()} ${init?.method ?? 'GET'} ${pathname}${token ? ' with the token' : ''}`
  entry.textContent = `${line} …`
  element('log').prepend(entry)
  if (token) showClaims(token)
  try {
    const answer = await fetch(input, init)
    const content = await answer
      .clone()
      .json()
      .catch(() => ({}))
    const nobody = content.code === 'refresh_token_missing'
    entry.textContent = `${line} → ${answer.status} ${content.code ?? ''}${nobody ? ': nobody is logged in' : ''}`
    entry.classList.toggle('refused', !answer.ok && !nobody)
    if (content.accessToken) showClaims(content.accessToken, Date.now() + content.expiresIn * 1000)
    return answer
  } catch (failure) {
    entry.textContent = `${line} → no answer`
    entry.classList.add('refused')
    throw failure
  }
}

const auth = createAuthClient({ url: '/', fetch: logged })

let expiresAt = 0
let shown = ''
function showClaims(token: string, end?: number): void {
  const [, payload = ''] = token.split('.')
  if (payload === shown) return
  shown = payload
  const claims = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')))
  expiresAt = end ?? claims.exp * 1000
  count()
  element('claims').replaceChildren(
    ...Object.entries(claims).flatMap(([name, value]) => [text('dt', name), text('dd', String(value))]),
  )
}

function count(): void {
  const seconds = Math.round((expiresAt - Date.now()) / 1000)
  countdown.textContent =
    seconds > 0 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : '0 s: it has expired'
}
setInterval(count, 500)

function text(tag: string, content: string): HTMLElement {
  const made = document.createElement(tag)
  made.textContent = content
  return made
}

let known = false
function show(user: User | undefined, reason: string): void {
  status.textContent = `${user ? `Logged in as ${user.email}.` : 'Nobody is logged in.'} ${reasons[reason] ?? ''}`
  for (const id of ['token', 'sessions', 'exit']) element(id).hidden = !user
  element('entrance').hidden = user !== undefined
  // What had the focus may be hidden now: go on where the page does.
  if (known && document.hasFocus()) element(user ? 'token-title' : 'entrance-title').focus()
  known = true
  if (user) void attempt(listSessions)
  else {
    shown = ''
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
  const since = new Date(createdAt).toLocaleString()
  const browser = /(Firefox|Edg|Chrome|Safari)\/[\d.]+/.exec(userAgent ?? '')?.[0] ?? 'Another client'
  item.append(text('span', `${current ? 'This one' : browser}, since ${since}`))
  const end = text('button', 'End')
  end.className = 'quiet'
  end.setAttribute('aria-label', `End the session of ${since}`)
  end.onclick = () =>
    attempt(async () => {
      await call('DELETE', `/auth/sessions/${id}`)
      // The next call tells that the session is over, if it was this one.
      await listSessions()
    })
  item.append(end)
  return item
}

async function attempt(work: () => Promise<unknown>): Promise<void> {
  error.textContent = ''
  try {
    await work()
  } catch (failure) {
    const { code, message, errors = [] } = failure as Partial<AuthClientError> & Error
    const rules = errors.map((rule) => `${rule.path} ${rule.message}`)
    // What has been overtaken is of no interest any more, and why the login is over the status says.
    if (code === 'overtaken' || code === 'session_ended') return
    const gone = code === 'unreachable' || failure instanceof TypeError
    error.textContent = gone ? 'The server cannot be reached.' : rules.join('; ') || message
  }
}

element('credentials').onsubmit = (event) => {
  event.preventDefault()
  const form = event.target as HTMLFormElement
  const { value } = (event as SubmitEvent).submitter as HTMLButtonElement
  const given = new FormData(form)
  const enter = value === 'register' ? auth.register : auth.login
  void attempt(async () => {
    await enter(String(given.get('email')), String(given.get('password')))
    form.reset()
  })
}
element('refresh').onclick = () => attempt(auth.refresh)
element('me').onclick = () => attempt(() => call('GET', '/users/me'))
element('show').onclick = () => attempt(listSessions)
element('logout').onclick = () =>
  attempt(async () => {
    const told = auth.logout()
    // Until the server knows of it the next page would be logged in again: it can be tried again.
    element('exit').hidden = false
    await told
    element('exit').hidden = true
  })
element('logout-all').onclick = () => attempt(auth.logoutAll)

auth.onChange(({ user, reason }) => show(user, reason))
// Every page load: the token is gone, the cookie brings it back.
void attempt(auth.refresh)
