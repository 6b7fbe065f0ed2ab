/** What keeps a secret from being read or written; each has a remedy of its own. */
export type SourceFault =
  | 'absent'
  | 'denied'
  | 'sealed'
  | 'withdrawn'
  | 'malformed'
  | 'conflict'
  | 'sdk_missing'
  | 'unreachable'

/** A source that cannot be read. The message says what is wrong and how to fix it, and never names the secret. */
export class SourceError extends Error {
  readonly fault: SourceFault
  constructor(fault: SourceFault, message: string) {
    super(message)
    this.name = 'SourceError'
    this.fault = fault
  }
}

/** Faults that may pass by themselves. */
export const isOutage = (fault: SourceFault) => fault === 'unreachable' || fault === 'sealed'

const errorOf = (fault: SourceFault) => (message: string) => new SourceError(fault, message)
export const absent = errorOf('absent')
export const conflict = errorOf('conflict')
export const denied = errorOf('denied')
export const malformed = errorOf('malformed')
export const unreachable = errorOf('unreachable')
export const withdrawn = errorOf('withdrawn')
