import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from '@jest/globals'
import { loadConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/config-error.ts'
import { newSecret } from '../../src/secrets/cli/generate.ts'

export type Environment = Record<string, string | undefined>

/** The least that production needs. */
export const base = {
  PUBLIC_URL: 'https://auth.example.com',
  DATA_DIR: '.data',
  JWT_ACCESS_SECRET: newSecret(),
  JWT_REFRESH_SECRET: newSecret(),
}

export const folder = mkdtempSync(join(tmpdir(), 'config-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Writes a file and returns its path. */
export function file(name: string, content: string | Buffer): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

/** Returns the ConfigError of an environment; undefined if it is valid. */
export async function errorOf(env: Environment): Promise<ConfigError | undefined> {
  try {
    await loadConfig(env)
    return undefined
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
}

/** Returns the lines that an environment gets; none if it is valid. */
export const problemsOf = async (env: Environment) => (await errorOf(env))?.problems ?? []

/** Returns the names that these lines begin with. */
export const faultsOf = async (env: Environment) =>
  (await problemsOf(env)).map((problem) => problem.slice(0, problem.indexOf(':')))
