// Draws who sends what to whom: a column for each actor, and a step below the other.
import { element, text, tokenLabel } from './demo-page.ts'

/** The place of an actor, from the left. The server is always the second. */
export type Place = 0 | 1 | 2
const server = 1

/** A token, a password or a refusal on its way. */
export interface Message {
  from: Place
  to: Place
  what: number | string
  fate?: 'copied' | 'lost' | 'refused'
}

/** What the server does. */
export interface Note {
  note: string
  bad?: boolean
}

/** What happens at one time. In an exchange, the response is below the message to the server. */
export type Row = Message[] | [Note] | [Message, Note, Message]

const betweenStepsMs = 900
const pause = () => new Promise<void>((resolve) => setTimeout(resolve, betweenStepsMs))

/** Starts a new drawing. Each part that is added is read aloud, because the list is a live region. */
export function startSequence(actors: string[]) {
  const list = element('sequence')
  const columns = actors.length === 2 ? 'two' : 'three'
  list.replaceChildren()
  element('actors').className = columns
  element('actors').replaceChildren(...actors.map((actor) => text('span', actor, 'actor')))

  function picture(rows: Row[]): HTMLElement {
    const made = text('div', '', `picture ${columns}`)
    for (const row of rows) {
      const line = text('div', '', row.length === 3 ? `exchange from${row[0].from}` : 'row')
      line.append(...row.map((part) => ('note' in part ? note(part) : arrow(part))))
      made.append(line)
    }
    return made
  }

  const note = ({ note, bad }: Note) => text('span', note, bad ? 'note refused' : 'note')

  function arrow({ from, to, what, fate }: Message): HTMLElement {
    const [left, right] = [Math.min(from, to), Math.max(from, to)]
    const made = text(
      'span',
      '',
      `arrow from${left}to${right} ${to > from ? 'rightward' : 'leftward'} ${fate}`,
    )
    made.append(
      text('span', `${actors[from]} to ${actors[to]}: `, 'aloud'),
      typeof what === 'number' ? tokenLabel(what) : text('span', what, 'chip'),
    )
    if (fate === 'copied' || fate === 'lost') made.lastElementChild?.append(` ${fate}`)
    return made
  }

  /** Adds a part before the conclusion, if the drawing has one. */
  function add(item: HTMLElement, ...parts: HTMLElement[]): void {
    item.append(...parts)
    list.insertBefore(item, list.querySelector('.conclusion'))
    item.scrollIntoView({ block: 'nearest' })
  }

  return {
    /** Adds a step. @returns after a pause, in which the reader looks at it */
    step(rows: Row[], says: string): Promise<void> {
      add(text('li', ''), picture(rows), text('p', says))
      return pause()
    },
    /** Adds a step that lasts until `time` is over. Its picture shows the `timer`, and then `after`: how long that was. */
    async wait(time: Promise<void>, token: number, timer: HTMLElement, after: string): Promise<void> {
      const waiting = picture([[{ note: 'waiting … ' }]])
      waiting.querySelector('.note')?.append(timer)
      const says = text('p', `Wait until token ${token} is used up.`)
      add(text('li', ''), waiting, says)
      await time
      waiting.replaceWith(picture([[{ note: after }]]))
      says.textContent = `Now token ${token} is used up.`
    },
    /** @param login the text of a link to the status and the form, if a login is what to do next */
    conclude(says: string, login = ''): void {
      const conclusion = text('p', says)
      const link = text('a', login)
      link.setAttribute('href', '#status')
      if (login) conclusion.append(' ', link)
      add(text('li', '', 'conclusion'), conclusion)
    },
  }
}

export type Sequence = ReturnType<typeof startSequence>

/** A refresh: the token on its way, what the server does, and the response. */
export const exchange = (
  place: Place,
  what: Message['what'],
  note: Note,
  answer: Omit<Message, 'from' | 'to'>,
): Row[] => [[{ from: place, to: server, what }, note, { from: server, to: place, ...answer }]]
