// Draws who sends what to whom: a column for each actor, and a step below the other.
import { element, text, tokenLabel } from './demo-page.ts'

/** The place of an actor, from the left. The server is always the second. */
export type Place = 0 | 1 | 2
const server = 1

/** A token or a refusal on its way. */
export interface Message {
  from: Place
  to: Place
  what: number | string
  fate?: 'copied' | 'lost' | 'refused'
}

/** What happens at one time: messages, or what the server does. */
export type Row = Message[] | { note: string; bad?: boolean }

/** Starts a new drawing. Each part that is added is read aloud, because the list is a live region. */
export function startSequence(actors: string[]) {
  const list = element('sequence')
  const columns = actors.length === 2 ? 'two' : 'three'
  list.replaceChildren()
  element('actors').className = columns
  element('actors').replaceChildren(...actors.map((actor) => text('span', actor, 'actor')))

  function add(item: HTMLElement): void {
    list.append(item)
    item.scrollIntoView({ block: 'nearest' })
  }

  function picture(rows: Row[]): HTMLElement {
    const made = text('div', '', `picture ${columns}`)
    for (const row of rows) {
      const line = text('div', '', 'row')
      if (Array.isArray(row)) line.append(...row.map(arrow))
      else line.append(text('span', row.note, row.bad ? 'note refused' : 'note'))
      made.append(line)
    }
    return made
  }

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

  return {
    step(rows: Row[], says: string): void {
      const item = document.createElement('li')
      item.append(picture(rows), text('p', says))
      add(item)
    },
    /** Adds a step that lasts until `work` returns how it ended. The button asks it to end earlier. */
    async wait(says: string, work: (skipped: Promise<void>) => Promise<string>): Promise<void> {
      const item = document.createElement('li')
      const waiting = picture([{ note: 'waiting …' }])
      const skip = text('button', 'Do not wait', 'quiet')
      const words = document.createElement('div')
      words.append(text('p', says), skip)
      item.append(waiting, words)
      add(item)
      const ended = await work(new Promise((resolve) => skip.addEventListener('click', () => resolve())))
      waiting.replaceWith(picture([{ note: ended }]))
      skip.remove()
    },
    conclude(says: string, more?: HTMLElement): void {
      const item = text('li', '', 'conclusion')
      item.append(text('p', says))
      if (more) item.append(more)
      add(item)
    },
  }
}

export type Sequence = ReturnType<typeof startSequence>

/** A refresh: the token on its way, what the server does, and the answer. */
export const refreshRows = (
  place: Place,
  sent: number,
  note: Row,
  answer: Omit<Message, 'from' | 'to'>,
): Row[] => [[{ from: place, to: server, what: sent }], note, [{ from: server, to: place, ...answer }]]
