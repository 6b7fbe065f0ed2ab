// The page that links in mails open. It changes nothing before the user presses a button.
import { type AccountClient, createAccountClient } from './account.ts'
import { type AuthClient, createAuthClient } from './auth-client.ts'
import { messages, messagesOf } from './messages.ts'

const purposes = ['register', 'verify', 'reset', 'email', 'undo', 'cancel-deletion']

const texts = {
  ...messages,
  already_verified: 'Your e-mail address is confirmed already.',
  invalid_credentials: 'This is not the password of that account.',
  link_invalid: 'This link no longer works.',
  not_found: 'This site cannot do that by mail. Write to the people who run it.',
  reauthentication_required:
    'Your account asks for a second factor here. Log in again, then change the address within a few minutes.',
  registration_closed: 'This site takes no new accounts.',
  wrong_password: 'This is not your password.',
}

/** Returns the text of a field of the form. */
type Given = (name: string) => string

/** What the buttons do, by the id of their section. */
const works: Record<string, (account: AccountClient, given: Given, auth: AuthClient) => Promise<unknown>> = {
  register: (account, given) => account.confirm(token, given('password')),
  verify: (account, given) => account.verify(token, given('password') || undefined),
  reset: (account, given) => account.reset(token, given('newPassword')),
  email: (account, given) => account.confirmEmail(token, given('password') || undefined),
  undo: (account) => account.undo(token),
  'cancel-deletion': (account) => account.cancelDeletion(token),
  forgot: (account, given) => account.forgot(given('email')),
  resend: (account) => account.resend(),
  async change(account, given, auth) {
    if (given('password')) await auth.reauthenticate(given('password'))
    await account.changeEmail(given('email'))
  },
}

// In memory only: not in the URL, in an element, or in a storage.
let token = ''

// Made at the first button, because the client refreshes by itself when a tab comes into view.
let made: { auth: AuthClient; account: AccountClient } | undefined
function clients() {
  if (made) return made
  const auth = createAuthClient({ url: '/' })
  made = { auth, account: createAccountClient({ url: '/', auth }) }
  return made
}

const element = (id: string) => document.getElementById(id) as HTMLElement
const part = (section: HTMLElement, css: string) => section.querySelector<HTMLElement>(css)
const formOf = (section: HTMLElement) => part(section, 'form') as HTMLFormElement

/** Shows what the fragment asks for, and removes it from the address bar. */
function open(): void {
  const fragment = location.hash
  if (fragment) history.replaceState(null, '', location.pathname + location.search)
  // Not by a regular expression, because RegExp.input and others would keep the token.
  const [purpose = '', ...rest] = fragment.slice(1).split('=')
  token = rest.join('=')
  const isLink = purposes.includes(purpose) && token !== ''
  element('incomplete').hidden = isLink || !fragment
  const section = sectionOf(isLink ? purpose : 'forgot')
  element('sections').replaceChildren(section)
  void askForState().then(({ live, home, mailbox }) => {
    if (['verify', 'email'].includes(purpose) && !live) askForPassword(section)
    if (!isLink && live) section.before(sectionOf('resend'), sectionOf('change'))
    const loggedOut = part(section, '.logged-out')
    if (loggedOut) loggedOut.hidden = live === true
    const places = (css: string) => element('sections').querySelectorAll(css)
    if (home) for (const place of places('.next')) place.append(linkTo('/', 'Go to the start page'))
    if (mailbox)
      for (const place of places('.mailbox'))
        place.append('Mails do not leave this machine: ', linkTo('/demo/mailbox', 'read them'), '.')
  })
}

/** Makes a section from its template. */
function sectionOf(id: string): HTMLElement {
  const copy = (element(id) as HTMLTemplateElement).content.cloneNode(true) as DocumentFragment
  const section = copy.querySelector('section') as HTMLElement
  const form = formOf(section)
  form.onsubmit = (event) => {
    event.preventDefault()
    void submit(id, section)
  }
  const checkbox = part(section, '[type=checkbox]')
  if (checkbox) checkbox.onchange = () => showPassword(form, (checkbox as HTMLInputElement).checked)
  return section
}

function showPassword(form: HTMLFormElement, visible: boolean): void {
  const field = form.querySelector('[name=newPassword]') as HTMLInputElement
  field.type = visible ? 'text' : 'password'
}

/** Shows one of the parts of a section: what it asks, that it is done, or that the link has ended. */
function show(section: HTMLElement, name: 'done' | 'ended'): void {
  for (const each of ['ask', 'done', 'ended']) {
    const one = part(section, `.${each}`)
    if (one) one.hidden = each !== name
  }
  part(section, `.${name} h2`)?.focus()
}

/**
 * Asks the server whether this browser has a live login, and which other pages there are. The server only looks, so
 * nothing changes.
 */
const askForState = (): Promise<{ live?: boolean; home?: boolean; mailbox?: boolean }> =>
  fetch('/account/login')
    .then((answer) => answer.json())
    .catch(() => ({}))

function linkTo(href: string, text: string): HTMLElement {
  const link = document.createElement('a')
  link.href = href
  link.textContent = text
  return link
}

function askForPassword(section: HTMLElement): void {
  const proof = part(section, '.proof')
  if (proof) proof.hidden = false
}

/** The fields that the user sees now. */
const fieldsOf = (section: HTMLElement) =>
  [...section.querySelectorAll<HTMLInputElement>('input[name]')].filter((field) => !field.closest('[hidden]'))

let busy = false
async function submit(id: string, section: HTMLElement): Promise<void> {
  if (busy) return
  clearProblems(section)
  const fields = fieldsOf(section)
  const empty = fields.filter(({ value }) => !value).map(({ name }) => [name, 'Fill this in.'])
  if (empty.length > 0) return showProblems(section, Object.fromEntries(empty))
  setBusy(section, true)
  try {
    const given: Given = (name) => fields.find((field) => field.name === name)?.value ?? ''
    const { account, auth } = clients()
    await works[id]?.(account, given, auth)
    finish(section, given('email') || (auth.user()?.email ?? ''))
  } catch (error) {
    refuse(section, error)
  } finally {
    setBusy(section, false)
  }
}

function setBusy(section: HTMLElement, now: boolean): void {
  busy = now
  part(section, 'button')?.setAttribute('aria-disabled', String(now))
}

function finish(section: HTMLElement, address: string): void {
  const place = part(section, '.address')
  if (place) place.textContent = address
  formOf(section).reset()
  show(section, 'done')
}

function refuse(section: HTMLElement, error: unknown): void {
  const { code } = error as { code?: string }
  const canAsk = part(section, '.proof')?.hidden
  if (canAsk && wantsPassword(code)) {
    askForPassword(section)
    showProblems(section, { password: reasonToAsk(code) })
  } else if (code === 'link_invalid') {
    show(section, 'ended')
  } else {
    showProblems(section, problemsOf(error))
  }
}

/** Whether the password may help. With the login of another account, the server says that the link is invalid. */
const wantsPassword = (code: string | undefined) =>
  code === 'invalid_credentials' ||
  code === 'reauthentication_required' ||
  (code === 'link_invalid' && clients().auth.user() !== undefined)

function reasonToAsk(code: string | undefined): string {
  if (code === 'link_invalid')
    return `The link has ended, or it is for another account than ${clients().auth.user()?.email}. If it is for another account, enter the password of that one.`
  return code === 'invalid_credentials'
    ? 'You are no longer logged in. Enter the password of your account.'
    : 'Enter your password too.'
}

function problemsOf(error: unknown): Record<string, string> {
  const { code = '' } = error as { code?: string }
  const ofPassword = ['invalid_credentials', 'wrong_password'].includes(code)
  const all = messagesOf(error, texts)
  return ofPassword ? { password: Object.values(all).join(' ') } : all
}

/** Shows each problem below its field, and the rest above the button. Moves the focus to the first field. */
function showProblems(section: HTMLElement, problems: Record<string, string>): void {
  const rest: string[] = []
  const fields = fieldsOf(section)
  for (const [name, problem] of Object.entries(problems)) {
    const field = fields.find((one) => one.name === name)
    if (field) {
      element(`${field.id}-problem`).textContent = problem
      field.setAttribute('aria-invalid', 'true')
    } else rest.push(problem)
  }
  ;(part(section, '.form') as HTMLElement).textContent = rest.join(' ')
  fields.find((field) => field.hasAttribute('aria-invalid'))?.focus()
}

function clearProblems(section: HTMLElement): void {
  for (const place of section.querySelectorAll('.problem')) place.textContent = ''
  for (const field of section.querySelectorAll('input')) field.removeAttribute('aria-invalid')
}

element('site').textContent = location.host
// Another link may be opened in the same tab.
addEventListener('hashchange', open)
open()
