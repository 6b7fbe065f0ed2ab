// Every time limit of the tests. No limit decides whether a test passes on a healthy machine: each one only ends a test
// that would hang for ever. They hold for 2 cores at a load of 15, where everything takes ten times as long.

/** For one test, or for what a file sets up. */
export const hangMs = 600_000

/** For one test that repeats something hundreds or thousands of times. */
export const longTestMs = 3_600_000

/** For one answer of a server or a program, or one change that a test waits for. */
export const answerMs = 120_000
