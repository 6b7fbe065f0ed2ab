#!/usr/bin/env node
import { ConfigError, exitConfig } from '../../config/config-error.ts'
import { SourceError, type SourceFault } from '../source-error.ts'
import { checkCommand } from './check.ts'
import { generateCommand } from './generate.ts'
import { keysCommand } from './keys.ts'
import { rotatable, rotateCommand } from './rotate.ts'
import { UsageError } from './usage.ts'

const help = `Usage: npm run -s secrets -- COMMAND [OPTIONS]        (in the image: secrets COMMAND)

  generate                 Print a new secret of 48 bytes. Read and replace nothing.
    --bytes 32|48|64         The number of bytes.
    --format base64url|hex   The encoding.
    --algorithm RS256|ES256  A private key for access tokens instead, in PEM.
    --env                    Lines for .env: both secrets, or the private key and the refresh secret.
    --out FILE               Write to a new file for this user only. Never replace a file.

  check                    Read every setting and secret as the server would, and print the state of each
                           version of each secret. Use it in a deployment, before the servers start.
    --max-age 90d            Exit with 78 if a secret is older. Units: d, h, m, s.

  rotate VARIABLE          Make a new secret in the place that VARIABLE names. A store gets a new version.
                           In a file or in .env, the old secret becomes the _PREVIOUS. VARIABLE:
                           ${rotatable.join(', ')}
    --force                  Rotate even if tokens of the _PREVIOUS may still be valid.

  keys                     Print the keys of the running server. Ask METRICS_PORT of this machine.
    --url URL                Ask another server, such as http://10.0.0.7:9090.

Settings come from the environment, and from .env in the working directory.
Exit codes: 0 done; 64 wrong command or option; 78 wrong setting or secret; 1 any other error.
`

const commands = new Map<string, (args: string[]) => void | Promise<void>>([
  ['generate', generateCommand],
  ['check', checkCommand],
  ['rotate', rotateCommand],
  ['keys', keysCommand],
])

const exitUsage = 64 // EX_USAGE of sysexits.h
const wrongSettings: SourceFault[] = ['absent', 'malformed', 'sdk_missing', 'withdrawn']

async function main([name = '', ...args]: string[]): Promise<number> {
  if (name === '' || name === '--help' || name === 'help' || args.includes('--help')) {
    process.stdout.write(help)
    return name === '' ? exitUsage : 0
  }
  const command = commands.get(name)
  if (!command) throw new UsageError(`Unknown command. Use ${[...commands.keys()].join(', ')}, or --help.`)
  await command(args)
  return 0
}

function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return exitUsage
  if (error instanceof ConfigError) return exitConfig
  return error instanceof SourceError && wrongSettings.includes(error.fault) ? exitConfig : 1
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = exitCodeOf(error)
}
