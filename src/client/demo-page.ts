/** Returns the element of the page with this id. */
export const element = (id: string) => document.getElementById(id) as HTMLElement

/** Makes an element with text in it. */
export function text(tag: string, content: string, className = ''): HTMLElement {
  const made = document.createElement(tag)
  made.textContent = content
  if (className) made.className = className
  return made
}

let highest = 0
let earlier = 0

/** Makes the label of the refresh token of a generation. The colour follows the number. */
export function tokenLabel(generation: number): HTMLElement {
  highest = Math.max(highest, generation)
  return text('span', `token ${generation}`, `chip g${(earlier + generation) % 4}`)
}

/** Continues the colours. Otherwise token 1 of the next session looks like a token of the last one. */
export function continueColours(): void {
  earlier += highest
  highest = 0
}
