// Ends the run at the first test that fails. Jest's --bail would finish the file first.
import { TestEnvironment } from 'jest-environment-node'

export default class FailFast extends TestEnvironment {
  /** @param {{ name: string }} event */
  async handleTestEvent({ name }) {
    if (name === 'test_fn_failure' || name === 'hook_failure') process.exit(1)
  }
}
