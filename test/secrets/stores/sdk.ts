import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import {
  type Environment,
  importSdk,
  type StoreDeps,
  type StoreKind,
} from '../../../src/secrets/stores/secret-store.ts'

/** What a store gets in tests. `sdks` replaces the packages that are installed. */
export const depsWith = (sdks?: Record<string, object>, env: Environment = {}): StoreDeps => ({
  env,
  clock: Date.now,
  delay: (ms, signal) => delay(ms, undefined, { signal }),
  importSdk: sdks ? async (name) => sdks[name] as never : importSdk,
})

/** Tests that the error for a missing SDK installs what `package.json` names, and that the SDK is optional. */
export function testMissingSdk(kind: StoreKind, packages: string[]): void {
  test('without its SDK, says how to install the versions that are known to work', async () => {
    const { peerDependencies, peerDependenciesMeta, dependencies, devDependencies } = JSON.parse(
      readFileSync('package.json', 'utf8'),
    )
    // An error may leave the version out if package.json allows newer ones.
    const wanted = packages.map((name) => {
      const [, range = '', version] = /^(\^?)(.+)$/.exec(peerDependencies[name]) ?? []
      return range ? `${name}(@${version})?` : `${name}@${version}`
    })

    await expect(kind.connect(depsWith())).rejects.toMatchObject({
      fault: 'sdk_missing',
      message: expect.stringMatching(new RegExp(`: npm install --save-prod ${wanted.join(' ')}$`)),
    })
    for (const name of packages) {
      expect(peerDependenciesMeta[name]).toEqual({ optional: true })
      expect({ ...dependencies, ...devDependencies }).not.toHaveProperty([name])
    }
  })
}
