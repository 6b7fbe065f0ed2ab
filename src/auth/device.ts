import type { Caller } from '../store/audit.ts'

/** The device that sends a request, and the tokens that it presents. */
export interface Device extends Caller {
  refreshToken: string | undefined
  deviceToken: string | undefined
  /** Aborts when the client has closed the connection. */
  gone: AbortSignal
}
