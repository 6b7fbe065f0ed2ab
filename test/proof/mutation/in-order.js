// Runs the test files in the order of TEST_ORDER. Jest would run the slowest first.
/** @typedef {{ path: string }} Test */

export default class InOrder {
  cacheResults() {}
  /** @param {Test[]} tests */
  shard = (tests) => tests
  /** @param {Test[]} tests */
  allFailedTests = (tests) => tests

  /** @param {Test[]} tests */
  sort(tests) {
    /** @type {string[]} */
    const order = JSON.parse(process.env.TEST_ORDER ?? '[]')
    const place = (/** @type {Test} */ { path }) => order.findIndex((file) => path.endsWith(file))
    return [...tests].sort((a, b) => place(a) - place(b))
  }
}
