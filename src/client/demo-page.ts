/** Returns the element of the page with this id. */
export const element = (id: string) => document.getElementById(id) as HTMLElement

/** Makes an element with text in it. */
export function text(tag: string, content: string, className = ''): HTMLElement {
  const made = document.createElement(tag)
  made.textContent = content
  if (className) made.className = className
  return made
}

/** Makes the label of the refresh token of a generation. The colour follows the number. */
export const tokenLabel = (generation: number) =>
  text('span', `token ${generation}`, `chip g${generation % 4}`)
