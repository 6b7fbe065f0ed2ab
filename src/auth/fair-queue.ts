import { AuthError } from '../errors.ts'

/** The owner of jobs, such as a network or an account. */
export interface Flow {
  name: string
  /** How many jobs of this flow count as one. */
  shares: number
}

export interface Job {
  flows: readonly Flow[]
  /** Starts before other jobs of the same turn, and gives way after them. */
  preferred: boolean
  /** Removes the job from the queue when it aborts. */
  gone?: AbortSignal | undefined
}

interface Waiting extends Job {
  start: () => Promise<void>
  giveWay: () => void
}

/**
 * Creates a bounded queue that is fair to flows: a flow with many jobs delays its own jobs only. This is start-time
 * fair queueing (Goyal, Vin, Cheng 1996) for jobs that belong to several flows. If the queue is full, the newest job of
 * the flow with the most waiting jobs is refused.
 *
 * Time is virtual and counts turns. A job takes a turn of each of its flows, and waits for all of them. A flow without
 * jobs saves no turns.
 */
export function createFairQueue({ concurrency, capacity }: { concurrency: number; capacity: number }) {
  /** In order of arrival. */
  const waiting: Waiting[] = []
  /** The next turns of flows. A flow that is not here has its turn now. */
  const nextTurns = new Map<string, number>()
  let now = 0
  let running = 0

  const turnsOf = ({ flows }: Job) => flows.map(({ name }) => Math.max(now, nextTurns.get(name) ?? now))

  // The mean decides between the accounts of one network address: the account that had the fewest turns is next.
  function priority(job: Job): number[] {
    const turns = turnsOf(job)
    return [Math.max(...turns), job.preferred ? 0 : 1, mean(turns)]
  }

  // A job does not add to the load of its own flows. Otherwise the only job of a new flow would weigh as much as 16
  // jobs of a flow with 16 shares. Among equal loads, the job whose flows had the latest turn gives way. A new flow had
  // none.
  function whoGivesWay<T extends Job>(jobs: readonly T[]): T | undefined {
    const counts = new Map<string, number>()
    for (const { name } of jobs.flatMap(({ flows }) => flows)) counts.set(name, (counts.get(name) ?? 0) + 1)
    const load = ({ flows }: Job) =>
      Math.max(...flows.map(({ name, shares }) => ((counts.get(name) ?? 1) - 1) / shares))
    return first(jobs.toReversed(), (job) => [-load(job), job.preferred ? 1 : 0, -Math.max(...turnsOf(job))])
  }

  function leave(job: Waiting): void {
    const index = waiting.indexOf(job)
    if (index >= 0) waiting.splice(index, 1)
  }

  function startNext(): void {
    const next = running < concurrency ? first(waiting, priority) : undefined
    if (!next) return
    leave(next)
    now = Math.max(...turnsOf(next))
    for (const { name, shares } of next.flows) nextTurns.set(name, now + 1 / shares)
    for (const [name, turn] of nextTurns) if (turn <= now) nextTurns.delete(name)
    running++
    void next.start().then(() => {
      running--
      if (running === 0 && waiting.length === 0) nextTurns.clear()
      startNext()
    })
  }

  return {
    /**
     * Runs `work` when it is the job's turn. Returns the result of `work`.
     * @throws AuthError `overloaded` if the job has to give way or aborts before its turn; and what `work` throws
     */
    add<T>(job: Job, work: () => Promise<T>): Promise<T> {
      return new Promise((resolve, reject) => {
        const refuse = (cause: string) => {
          leave(entry)
          job.gone?.removeEventListener('abort', giveUp)
          reject(new AuthError('overloaded', { cause }))
        }
        const giveUp = () => refuse('the client has closed the connection')
        const entry: Waiting = {
          ...job,
          giveWay: () => refuse('the queue is full'),
          async start() {
            job.gone?.removeEventListener('abort', giveUp)
            await work().then(resolve, reject)
          },
        }
        if (job.gone?.aborted) return giveUp()
        job.gone?.addEventListener('abort', giveUp)
        waiting.push(entry)
        startNext()
        if (waiting.length > capacity) whoGivesWay(waiting)?.giveWay()
      })
    },

    /** Returns whether a job would be refused now. */
    isFullFor: (job: Job) => waiting.length >= capacity && whoGivesWay([...waiting, job]) === job,

    /** Returns the numbers of jobs that run, and that wait. */
    load: () => ({ running, waiting: waiting.length }),
  }
}

const mean = (numbers: number[]) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length

/** Returns the item of the lowest rank, and of equal ranks the first. The first number that differs decides. */
function first<T>(items: readonly T[], rank: (item: T) => number[]): T | undefined {
  const ranked = items.map((item) => ({ item, rank: rank(item) }))
  return ranked.reduce<(typeof ranked)[number] | undefined>(
    (best, one) => (best && compare(best.rank, one.rank) <= 0 ? best : one),
    undefined,
  )?.item
}

function compare(a: number[], b: number[]): number {
  const differences = a.map((number, i) => number - (b[i] ?? 0))
  return differences.find((difference) => difference !== 0) ?? 0
}
