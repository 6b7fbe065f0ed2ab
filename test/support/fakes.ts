import type { Device } from '../../src/auth/device.ts'
import type { DeviceTokens } from '../../src/auth/device-token.ts'
import type { Throttle } from '../../src/auth/throttle.ts'
import type { AuditLog, Caller } from '../../src/store/audit.ts'

/** For tests of use cases that do not test limits on guessing or the audit. */
export const notUnderTest = {
  throttle: {
    guess: (_guesser, work) => work(),
    registration: async () => {},
    mailRequest: async () => {},
    mayMail: async () => true,
    failedLoginKeys: () => [],
  } satisfies Throttle,
  deviceTokens: {
    signer: () => () => ({ deviceToken: '', deviceExpiresIn: 0 }),
    verify: async () => undefined,
  } satisfies DeviceTokens,
  audit: { record: async () => {} } satisfies AuditLog,
}

export const somewhere: Caller = { ip: '192.0.2.1', userAgent: 'a browser' }

export const someDevice: Device = {
  ...somewhere,
  refreshToken: undefined,
  deviceToken: undefined,
  gone: new AbortController().signal,
}
