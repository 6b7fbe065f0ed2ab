import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Installs packages that the project itself does not need into their own folder, unless they are there. */
export function installAside(folder: string, packages: Record<string, string>): void {
  const wanted = JSON.stringify({ private: true, type: 'module', dependencies: packages })
  const manifest = join(folder, 'package.json')
  if (existsSync(manifest) && readFileSync(manifest, 'utf8') === wanted) return
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const names = Object.entries(packages).map(([name, version]) => `${name}@${version}`)
  execFileSync('npm', ['install', '--prefix', folder, '--no-save', '--no-audit', ...names], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  writeFileSync(manifest, wanted)
}
