import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'

/** The SDKs of the stores, and a copy of the built server that finds them: who clones the project has none of them. */
export const sdkFolder = 'node_modules/.store-sdks'

export default function installSdks(): void {
  const { peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
  const wanted = JSON.stringify({ private: true, type: 'module', dependencies: peerDependencies })
  const manifest = `${sdkFolder}/package.json`
  if (!existsSync(manifest) || readFileSync(manifest, 'utf8') !== wanted) {
    rmSync(sdkFolder, { recursive: true, force: true })
    mkdirSync(sdkFolder, { recursive: true })
    const names = Object.entries(peerDependencies).map(([name, version]) => `${name}@${version}`)
    execFileSync('npm', ['install', '--prefix', sdkFolder, '--no-save', '--no-audit', ...names], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    writeFileSync(manifest, wanted)
  }
  cpSync('dist', `${sdkFolder}/dist`, { recursive: true })
}
