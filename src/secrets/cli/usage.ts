import { parseArgs } from 'node:util'

/** A wrong command or option. */
export class UsageError extends Error {}

type Options = NonNullable<NonNullable<Parameters<typeof parseArgs>[0]>['options']>

/** Returns the options and positional arguments of a command. Throws a UsageError for others than `wanted`. */
export function parseOptions<const Wanted extends Options>(args: string[], wanted: Wanted) {
  try {
    return parseArgs({ args, options: wanted, allowPositionals: true, strict: true })
  } catch (error) {
    throw new UsageError(`${(error as Error).message}. Try --help.`)
  }
}
