import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import {
  type Exit,
  runServer,
  type ServerProcess,
  serverEnvironment,
  startServer,
} from '../../support/server.ts'
import { sdkFolder } from './install-sdks.ts'

const run = promisify(execFile)
const program = `${sdkFolder}/dist/main.js`
// Node reads this variable only when a process starts.
const certificates = { NODE_EXTRA_CA_CERTS: process.env.NODE_EXTRA_CA_CERTS ?? '' }

/** Starts the built server in a folder where it finds the SDKs of the stores. */
export const startStoreServer = (settings: Record<string, string>): Promise<ServerProcess> =>
  startServer({ ...certificates, ...settings }, undefined, program)

/** Runs the same server until it ends by itself. */
export const runStoreServer = (settings: Record<string, string>): Promise<Exit> =>
  runServer({ ...certificates, ...settings }, undefined, program)

/** Runs the built `secrets` command. Returns its output. Throws if it does not exit with 0. */
export async function secretsCommand(
  args: string[],
  settings: Record<string, string>,
  cwd?: string,
): Promise<string> {
  const env = serverEnvironment({ PUBLIC_URL: 'http://localhost:3000', ...certificates, ...settings })
  const { stdout } = await run(process.execPath, [resolve(sdkFolder, 'dist/secrets/cli/cli.js'), ...args], {
    env,
    cwd,
  })
  return stdout
}
