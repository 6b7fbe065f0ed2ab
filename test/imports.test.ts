import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { parseSync } from '@swc/core'
import { expectPart } from './support/documents.ts'

/**
 * The rooms of `src/`, from the top down: folders, and files that are a room of their own. A room imports only what is
 * named here. Of the rooms in `types` it imports types only, so nothing of them runs there. Any other file at the top of
 * `src/` is a small tool: every room but `client` may import it, and it imports nothing.
 */
const rooms: Record<string, { imports?: string[]; types?: string[] }> = {
  'dev.ts': { imports: ['main.ts', 'secrets/cli'] },
  'main.ts': {
    imports: ['compose.ts', 'features.ts', 'config', 'http', 'store', 'dev-output.ts', 'output.ts'],
  },
  'migrate.ts': { imports: ['config', 'store'] },
  'compose.ts': {
    imports: ['app.ts', 'features.ts', 'mail', 'config', 'http', 'auth', 'store', 'secrets'],
    types: ['features'],
  },
  'app.ts': { imports: ['routes', 'http'] },
  'features.ts': { imports: ['features', 'http'] },
  features: { imports: ['config', 'mail', 'http', 'auth', 'store'] },
  routes: { imports: ['http'], types: ['auth', 'store', 'secrets'] },
  'secrets/cli': { imports: ['config', 'secrets'] },
  mail: { imports: ['client'], types: ['config', 'store'] },
  config: { imports: ['secrets'] },
  http: { types: ['auth', 'store', 'secrets'] },
  auth: { types: ['store', 'secrets'] },
  store: { types: ['secrets'] },
  secrets: {},
  client: {},
  'dev-output.ts': { types: ['output.ts'] },
  'output.ts': {},
}

/** Packages that tell what a room knows, and the only rooms that may import them. */
const packages: Record<string, string[]> = {
  express: ['app.ts', 'features', 'routes', 'http'],
  'cookie-parser': ['app.ts', 'http'],
  'drizzle-orm': ['features', 'store'],
  pg: ['store'],
  jsonwebtoken: ['auth'],
  bcrypt: ['auth'],
  nodemailer: ['mail'],
}

const readersOfTheEnvironment = /^src\/(config\/|dev\.ts$)/

/** What still breaks a rule. Remove a line when you have fixed it. Add none. */
const exceptions: string[] = []

interface Import {
  from: string
  to: string
  runs: boolean
}

const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .filter((name) => /(?<!\.d|\.test)\.(ts|js)$/.test(name))
  .map((name) => `src/${name.replaceAll('\\', '/')}`)
  .sort()
const imports = files.flatMap(importsOf)
const names = Object.keys(rooms)

const problems = {
  direction: imports
    .filter(({ from, to, runs }) => to.startsWith('src/') && !mayImport(roomOf(from), roomOf(to), runs))
    .map(({ from, to, runs }) => ({
      line: `${from} -> ${to}`,
      advice: `${roomOf(from)} must not import ${runs ? 'from' : 'types from'} ${roomOf(to)}. Pass what it needs in as a dependency, or move it down.`,
    })),
  packages: imports
    .map(({ from, to }) => ({ from, to, allowed: packages[packageOf(to)] }))
    .filter(({ from, allowed }) => allowed && !allowed.includes(roomOf(from)))
    .map(({ from, to, allowed }) => ({
      line: `${from} -> ${to}`,
      advice: `Only ${allowed?.join(', ')} may know this package. Put the code there.`,
    })),
  environment: files
    .filter((file) => /\bprocess\.env\b/.test(read(file)) && !readersOfTheEnvironment.test(file))
    .map((file) => ({
      line: `${file} -> process.env`,
      advice: 'Only src/config/ reads the environment. Pass the value in.',
    })),
  circles: circles().map((circle) => ({
    line: circle.join(' -> '),
    advice: 'These files import each other. Move what both need to a file below both.',
  })),
}

test('a room imports only the rooms that it may know', () => {
  expect(unexpected(problems.direction)).toEqual([])
})

test('only rooms that may know a package import it', () => {
  expect(unexpected(problems.packages)).toEqual([])
})

test('only the configuration reads the environment', () => {
  expect(unexpected(problems.environment)).toEqual([])
})

test('every exception is still needed', () => {
  const lines = Object.values(problems).flatMap((found) => found.map(({ line }) => line))
  const needless = exceptions.filter((line) => !lines.includes(line))

  expect(needless.map((line) => `${line}: remove this line from "exceptions".`)).toEqual([])
})

test('no room is above one that it imports', () => {
  const upward = names.flatMap((room) =>
    [...(rooms[room]?.imports ?? []), ...(rooms[room]?.types ?? [])]
      .filter((to) => names.indexOf(to) <= names.indexOf(room))
      .map((to) => `${room} -> ${to}: ${to} has to stand below ${room} in "rooms".`),
  )

  expect(upward).toEqual([])
})

test('no files import each other in a circle, not even for types', () => {
  expect(unexpected(problems.circles)).toEqual([])
})

test('the documentation shows the same rooms', () => {
  const id = (room: string) => room.replace(/\W/g, '-')
  const boxes = names.map((room) => `  ${id(room)}[${room.endsWith('.ts') ? room : `${room}/`}]`)
  const arrows = names.flatMap((room) => [
    ...(rooms[room]?.imports ?? []).map((to) => `  ${id(room)} --> ${id(to)}`),
    ...(rooms[room]?.types ?? []).map((to) => `  ${id(room)} -.-> ${id(to)}`),
  ])

  expectPart(
    'docs/architecture.md',
    /(?<=## Who may know whom\n[^#]*```mermaid\n)[^`]*(?=```)/,
    ['flowchart TD', ...boxes, ...arrows, ''].join('\n'),
  )
})

/** Returns one sentence for each problem that is not a known exception. */
function unexpected(found: { line: string; advice: string }[]): string[] {
  return found
    .filter(({ line }) => !exceptions.includes(line))
    .map(({ line, advice }) => `${line}: ${advice}`)
}

function mayImport(from: string, to: string, runs: boolean): boolean {
  if (from === to) return true
  if (!(to in rooms)) return from in rooms && from !== 'client'
  const { imports = [], types = [] } = rooms[from] ?? {}
  return imports.includes(to) || (!runs && types.includes(to))
}

/** Returns the innermost folder that is a room, or the name of a file at the top of `src/`. */
function roomOf(file: string): string {
  const parts = file.split('/').slice(1)
  const folders = parts.slice(0, -1).map((_, index) => parts.slice(0, index + 1).join('/'))
  return folders.filter((folder) => folder in rooms).at(-1) ?? folders[0] ?? String(parts[0])
}

function packageOf(specifier: string): string {
  return /^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? ''
}

/** Returns each circle once, by the files in it. */
function circles(): string[][] {
  const next = new Map(
    files.map((file) => [file, new Set(imports.filter(({ from }) => from === file).map(({ to }) => to))]),
  )
  const found: string[][] = []
  const done = new Set<string>()
  const visit = (file: string, path: string[]) => {
    if (path.includes(file)) found.push([...path.slice(path.indexOf(file)), file])
    if (done.has(file)) return
    done.add(file)
    for (const to of next.get(file) ?? []) visit(to, [...path, file])
  }
  for (const file of files) visit(file, [])
  return found
}

/** Returns what a file imports: static and dynamic imports, re-exports, and types by `import('…')`. */
function importsOf(file: string): Import[] {
  const found: Import[] = []
  const add = (specifier: string, runs: boolean) =>
    found.push({ from: file, to: specifier.startsWith('.') ? join(file, '..', specifier) : specifier, runs })
  const walk = (node: unknown) => {
    if (typeof node !== 'object' || node === null) return
    const { type, source, specifiers, typeOnly, callee, arguments: args, argument } = node as SyntaxNode
    if (source && /^(Import|Export)/.test(String(type))) {
      const onlyTypes =
        specifiers !== undefined && specifiers.length > 0 && specifiers.every(({ isTypeOnly }) => isTypeOnly)
      add(source.value, !typeOnly && !onlyTypes)
    }
    if (callee?.type === 'Import' && args?.[0]?.expression.value) add(args[0].expression.value, true)
    if (type === 'TsImportType' && argument?.value) add(argument.value, false)
    for (const child of Object.values(node)) walk(child)
  }
  walk(parseSync(read(file), { syntax: 'typescript', target: 'es2023' }))
  return found
}

interface SyntaxNode {
  type?: string
  source?: { value: string }
  specifiers?: { isTypeOnly?: boolean }[]
  typeOnly?: boolean
  callee?: { type: string }
  arguments?: { expression: { value?: string } }[]
  argument?: { value?: string }
}

function read(file: string): string {
  return readFileSync(file, 'utf8')
}
