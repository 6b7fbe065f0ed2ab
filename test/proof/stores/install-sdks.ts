import { cpSync, readFileSync } from 'node:fs'
import { installAside } from '../../support/install.ts'

/** A folder with the SDKs of the stores, and a copy of the built server that finds them. */
export const sdkFolder = 'node_modules/.store-sdks'

export default function installSdks(): void {
  installAside(sdkFolder, JSON.parse(readFileSync('package.json', 'utf8')).peerDependencies)
  cpSync('dist', `${sdkFolder}/dist`, { recursive: true })
}
