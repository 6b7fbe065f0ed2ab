import { hangMs } from './test/support/time-limits.js'

const typescript = ['@swc/jest', { jsc: { target: 'es2023', parser: { syntax: 'typescript' } } }]

// `quick` is what a fork takes along; what proves the claims stands in test/proof. Jest matches patterns against the whole
// path, so they match its end only: the folder that holds the clone may have any name, such as `auth (1)`.
const suites = (folder) => ({
  roots: [`<rootDir>/test${folder}`],
  testRegex: ['\\.test\\.ts$'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '\\.ts$': typescript },
  testEnvironment: '<rootDir>/test/support/jest-environment.ts',
})

export default {
  testTimeout: hangMs,
  globalSetup: '<rootDir>/test/support/prepare-image.ts',
  projects: [
    {
      displayName: 'quick',
      ...suites(''),
      roots: ['<rootDir>/test', '<rootDir>/src/features'],
      testPathIgnorePatterns: ['/test/proof/([a-z]+/)?[^/]+$'],
      globalSetup: '<rootDir>/test/support/prepare-image.ts',
    },
    {
      displayName: 'proof',
      ...suites('/proof'),
      testPathIgnorePatterns: ['/test/proof/[a-z]+/[^/]+$'],
      globalSetup: '<rootDir>/test/support/prepare-image.ts',
    },
    { displayName: 'processes', ...suites('/proof/processes') },
    {
      displayName: 'browser',
      ...suites('/proof/browser'),
      globalSetup: '<rootDir>/test/proof/browser/require-browser.ts',
    },
    {
      displayName: 'stores',
      ...suites('/proof/stores'),
      globalSetup: '<rootDir>/test/proof/stores/install-sdks.ts',
      modulePaths: ['<rootDir>/node_modules/.store-sdks/node_modules'],
    },
  ],
}
