import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import { importSdk } from '../../../src/secrets/stores/secret-store.ts'

const folder = mkdtempSync(join(tmpdir(), 'sdk-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('a missing SDK is an error with the command that installs it', async () => {
  await expect(importSdk('no-such-sdk', 'no-such-sdk@1.2.3 another')).rejects.toMatchObject({
    fault: 'sdk_missing',
    message:
      'The store needs a package that is not installed. Install it: npm install --save-prod no-such-sdk@1.2.3 another',
  })
})

test('a broken SDK is not reported as missing', async () => {
  const file = join(folder, 'broken.mjs')
  writeFileSync(file, 'export const = 1')

  await expect(importSdk(file)).rejects.toMatchObject({ name: 'SyntaxError' })
})

test('package.json offers no SDK that no store imports', () => {
  const { peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
  const stores = 'src/secrets/stores'
  const code = readdirSync(stores, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(stores, name), 'utf8'))
    .join('\n')

  expect(Object.keys(peerDependencies).filter((name) => !code.includes(`'${name}'`))).toEqual([])
})
