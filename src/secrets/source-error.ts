/** Why a secret cannot be read or written. Each needs another fix. */
export type SourceFault =
  | 'absent'
  | 'denied'
  | 'sealed'
  | 'withdrawn'
  | 'malformed'
  | 'conflict'
  | 'sdk_missing'
  | 'unreachable'

/** The error of all sources. The message says what happened and what to do. It never contains a part of the secret. */
export class SourceError extends Error {
  readonly fault: SourceFault
  constructor(fault: SourceFault, message: string) {
    super(message)
    this.name = 'SourceError'
    this.fault = fault
  }
}

/** Returns whether a fault may end by itself. */
export const isOutage = (fault: SourceFault) => fault === 'unreachable' || fault === 'sealed'

const errorOf = (fault: SourceFault) => (message: string) => new SourceError(fault, message)
export const absent = errorOf('absent')
export const conflict = errorOf('conflict')
export const denied = errorOf('denied')
export const malformed = errorOf('malformed')
export const unreachable = errorOf('unreachable')
export const withdrawn = errorOf('withdrawn')
