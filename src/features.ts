import { accountPage, accountUrl } from './features/account-page/account-page.ts'
import { changeOfAddress } from './features/change-of-address/change-of-address.ts'
import { demo, lesson } from './features/demo/demo.ts'
import { docs } from './features/docs/docs.ts'
import { type Feature, templatesOf } from './features/feature.ts'
import { mailbox } from './features/mailbox/mailbox.ts'
import { notices } from './features/notices/notices.ts'
import { resetPassword } from './features/reset/reset.ts'
import { verification } from './features/verification/verification.ts'
import { problems as coreProblems, type Problems } from './http/problem.ts'

/** Every optional feature. To remove one, delete its lines and its folder. `demo` and `lesson` share a folder. */
export const features: readonly Feature[] = [
  accountPage, // the page that links in mails open
  accountUrl, // where browsers look for that page
  mailbox, // the mails of development, at /demo/mailbox; before the demo, whose /demo/:file would match
  notices, // mails to owners of accounts: the password was changed, a new device logged in
  demo, // the page at / to try the server, in development
  lesson, // what that page needs to show rotation and reuse
  resetPassword, // a forgotten password is replaced by a link in a mail
  changeOfAddress, // an account gets another address, and its former owner can undo that
  verification, // links in mails verify e-mail addresses
  docs, // the OpenAPI document, and a page to read and try it
]

/** The problems of the core and of every feature. */
export const problems: Problems = Object.assign(
  {},
  coreProblems,
  ...features.map((feature) => feature.problems),
)

/** The templates of the mails of every feature, by their names. */
export const templates = templatesOf(features)
