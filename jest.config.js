import { hangMs } from './test/support/time-limits.js'

const typescript = ['@swc/jest', { jsc: { target: 'es2023', parser: { syntax: 'typescript' } } }]

// Patterns match the end of a path only. So the folder that holds the clone may have any name, such as `auth (1)`.
const suites = (folder) => ({
  roots: [`<rootDir>/test${folder}`],
  testRegex: ['\\.test\\.ts$'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '\\.ts$': typescript },
})

export default {
  testTimeout: hangMs,
  globalSetup: '<rootDir>/test/support/prepare-image.ts',
  projects: [
    {
      displayName: 'quick',
      ...suites(''),
      testPathIgnorePatterns: ['/test/(processes|stores|browser)/[^/]+$'],
      globalSetup: '<rootDir>/test/support/prepare-image.ts',
    },
    { displayName: 'processes', ...suites('/processes') },
    {
      displayName: 'browser',
      ...suites('/browser'),
      globalSetup: '<rootDir>/test/browser/require-browser.ts',
    },
    {
      displayName: 'stores',
      ...suites('/stores'),
      globalSetup: '<rootDir>/test/stores/install-sdks.ts',
      modulePaths: ['<rootDir>/node_modules/.store-sdks/node_modules'],
    },
  ],
}
