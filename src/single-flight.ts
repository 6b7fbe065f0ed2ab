/**
 * Lets concurrent callers share one run of `work`. A call starts a run, or joins the one that is under way.
 * @returns a function that returns the result of that run; its `running()` returns the run that is under way, if any
 */
export function singleFlight<Args extends unknown[], Result>(work: (...args: Args) => Promise<Result>) {
  let current: Promise<Result> | undefined

  function run(...args: Args): Promise<Result> {
    current ??= work(...args).finally(() => {
      current = undefined
    })
    return current
  }

  return Object.assign(run, { running: () => current })
}
