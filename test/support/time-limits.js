// Every time limit of the tests. A limit only ends a test that would never end. The limits are long enough for 2 cores at
// a load of 15, where everything takes ten times as long.

/** For one test, or for the setup of a file. */
export const hangMs = 600_000

/** For one test that repeats something hundreds or thousands of times. */
export const longTestMs = 3_600_000

/** For one answer of a server or program, or for one change that a test waits for. */
export const answerMs = 120_000
