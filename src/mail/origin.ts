import { browserName } from '../client/browser-name.ts'
import type { Caller } from '../store/audit.ts'
import type { MailParams } from '../store/schema.ts'

/**
 * Returns the parameters that say where a request came from. Of the browser only a name of a fixed list is kept. So no
 * client can put its own words into a mail to another person.
 */
export const originOf = ({ ip, userAgent }: Caller) => ({
  ip: ip ?? null,
  browser: browserName(userAgent ?? null).replace(/ [\d.]+$/, ''),
})

/** Returns the sentence of a mail that says where a request came from, from the parameters of `originOf`. */
export const originSentence = ({ ip, browser }: MailParams) =>
  `It came from ${browser}, network address ${ip ?? 'unknown'}.`
