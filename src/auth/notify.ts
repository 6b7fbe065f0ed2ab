import type { Caller } from '../store/audit.ts'
import type { Queries } from '../store/database.ts'
import type { User } from '../store/users.ts'

/** Something that the owner of an account should know of. */
export interface Notice {
  kind: 'password_changed' | 'password_reset' | 'new_device'
  user: User
  /** Where the request came from. */
  from: Caller
}

/** Tells the owner of an account, in the transaction of what happened. So neither exists without the other. */
export type Notify = (tx: Queries, notice: Notice) => Promise<void>
