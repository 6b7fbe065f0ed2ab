// Plants faults in the source, one at a time, and counts those that a test notices: see CONTRIBUTING.
//   npm run mutate -- REVISION [--count 300] [--seed 12] [--seconds 20] [--all]
// It works in a worktree of its own and keeps what it found in node_modules/.cache/mutation, so that it can go on later.
import { execFileSync, spawn } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { findMutants, type Mutant, sampleOf, withFault } from './mutants.ts'

const rooms: Record<string, string[]> = {
  auth: ['src/auth'],
  http: ['src/http', 'src/routes', 'src/features'],
  store: ['src/store'],
  secrets: ['src/secrets'],
}
const suites = /^(?!test\/proof\/[a-z]+\/).*\.test\.ts$/

interface Probe {
  seconds: number
  /** The lines that the test file runs, by source file. */
  lines: Record<string, number[]>
}

interface Result {
  id: string
  room: string
  outcome: 'killed' | 'survived' | 'unreached'
  /** Whether every test file that reaches the fault has run. */
  complete: boolean
  seconds: number
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string', default: '300' },
    seed: { type: 'string', default: '12' },
    seconds: { type: 'string', default: '20' },
    all: { type: 'boolean', default: false },
  },
})
const revision = git(process.cwd(), 'rev-parse', positionals[0] ?? 'HEAD')
const folder = join(process.cwd(), 'node_modules/.cache/mutation', revision.slice(0, 8))
const tree = join(tmpdir(), `mutation-${revision.slice(0, 8)}`)
const results = join(folder, `results-${values.seed}.jsonl`)

mkdirSync(folder, { recursive: true })
prepareTree()
const probes = await probeAll()
const sample = Object.entries(rooms).flatMap(([room, folders]) =>
  sampleOf(findMutants(tree, folders, values.seed), Math.ceil(Number(values.count) / 4)).map((mutant) => ({
    room,
    ...mutant,
  })),
)
for (const mutant of sample) {
  const known = resultsSoFar().get(mutant.id)
  if (!known || (values.all && known.outcome === 'survived' && !known.complete)) await judge(mutant)
}
report()

/** Runs the tests that reach the fault, the likeliest first, until one fails. */
async function judge(mutant: Mutant & { room: string }): Promise<void> {
  const { id, room, file } = mutant
  const ordered = testsFor(mutant)
  const first = withinSeconds(ordered, Number(values.seconds))
  const tests = values.all ? ordered : first
  const path = join(tree, file)
  const source = readFileSync(path, 'utf8')
  const begin = Date.now()
  let outcome: Result['outcome'] = ordered.length === 0 ? 'unreached' : 'survived'
  writeFileSync(path, withFault(source, mutant))
  try {
    if (tests.length > 0 && !(await passes(tests))) outcome = 'killed'
  } finally {
    writeFileSync(path, source)
  }
  const complete = outcome !== 'survived' || values.all || tests.length === ordered.length
  const result: Result = { id, room, outcome, complete, seconds: Math.round((Date.now() - begin) / 1000) }
  appendFileSync(results, `${JSON.stringify(result)}\n`)
  console.log(`${outcome.padEnd(9)} ${result.seconds} s ${describe(mutant)}`)
}

/** Returns the test files that reach the line, those named after the file first, then the quick ones. */
function testsFor({ file, line }: Mutant): string[] {
  const name = file.replace(/.*\/|\.\w+$/g, '')
  const cost = (test: string) => (probes[test]?.seconds ?? 0) * (test.includes(`/${name}.`) ? 0.1 : 1)
  const isCovered = Object.values(probes).some(({ lines }) => lines[file])
  // Coverage does not see worker threads. Their files belong to the tests of the same first word.
  const reaches = (test: string) =>
    isCovered ? probes[test]?.lines[file]?.includes(line) : test.includes(`/${name.split('-')[0]}`)
  return Object.keys(probes)
    .filter(reaches)
    .sort((a, b) => cost(a) - cost(b))
}

function withinSeconds(tests: string[], seconds: number): string[] {
  let sum = 0
  return tests.filter((test, index) => {
    sum += probes[test]?.seconds ?? 0
    return index === 0 || sum <= seconds
  })
}

function passes(tests: string[]): Promise<boolean> {
  const seconds = tests.reduce((sum, test) => sum + (probes[test]?.seconds ?? 0), 0)
  return jest([...tests, `--testSequencer=${tool('in-order.js')}`, `--env=${tool('fail-fast.js')}`], {
    TEST_ORDER: JSON.stringify(tests),
    limitMs: 60_000 + 8_000 * seconds,
  })
}

/** Finds out for every test file how long it takes and what it reaches. A file that fails without any fault is left out. */
async function probeAll(): Promise<Record<string, Probe>> {
  const path = join(folder, 'probes.json')
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8'))
  const found: Record<string, Probe> = {}
  for (const test of git(tree, 'ls-files', 'test', 'src/features')
    .split('\n')
    .filter((name) => suites.test(name))) {
    const coverage = join(tree, 'coverage')
    const begin = Date.now()
    const flags = [
      '--coverage',
      '--coverageProvider=v8',
      '--coverageReporters=json',
      `--coverageDirectory=${coverage}`,
    ]
    const passed = await jest([test, ...flags], { limitMs: 600_000 })
    const seconds = Math.max(0.1, (Date.now() - begin) / 1000 - 1)
    const lines = passed ? linesIn(join(coverage, 'coverage-final.json')) : {}
    rmSync(coverage, { recursive: true, force: true })
    console.log(
      `${passed ? 'passed' : 'FAILED'} ${seconds.toFixed(1)} s ${test}, ${Object.keys(lines).length} files`,
    )
    if (Object.keys(lines).length > 0) found[test] = { seconds, lines }
  }
  writeFileSync(path, JSON.stringify(found))
  return found
}

function linesIn(report: string): Probe['lines'] {
  if (!existsSync(report)) return {}
  const files = JSON.parse(readFileSync(report, 'utf8')) as Record<string, FileCoverage>
  return Object.fromEntries(
    Object.entries(files)
      .filter(([path]) => path.startsWith(join(tree, 'src/')))
      .map(([path, { s, statementMap }]) => [
        path.slice(tree.length + 1),
        Object.keys(s).flatMap((key) => (s[key] ? [statementMap[key]?.start.line ?? 0] : [])),
      ]),
  )
}

interface FileCoverage {
  s: Record<string, number>
  statementMap: Record<string, { start: { line: number } }>
}

/** Whether the tests pass. Runs at the lowest priority, and ends all that the tests have started. */
function jest(
  args: string[],
  { limitMs, ...env }: { limitMs: number; TEST_ORDER?: string },
): Promise<boolean> {
  const program = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning']
  const projects = ['--selectProjects', 'quick', 'proof', '--runInBand']
  const child = spawn(
    'nice',
    ['-n', '19', process.execPath, ...program, 'node_modules/jest/bin/jest.js', ...args, ...projects],
    {
      cwd: tree,
      detached: true,
      stdio: 'ignore',
      env: { ...process.env, ...env, TMPDIR: temporary() },
    },
  )
  const end = () => {
    try {
      process.kill(-(child.pid ?? 0), 'SIGKILL')
    } catch {
      // All of them have ended.
    }
  }
  const timer = setTimeout(end, limitMs)
  return new Promise((resolve) => {
    child.on('exit', (code) => {
      clearTimeout(timer)
      end()
      rmSync(temporary(), { recursive: true, force: true })
      resolve(code === 0)
    })
  })
}

function temporary(): string {
  const path = `${tree}-tmp`
  mkdirSync(path, { recursive: true })
  return path
}

function prepareTree(): void {
  if (!existsSync(tree)) {
    git(process.cwd(), 'worktree', 'add', '--detach', tree, revision)
    symlinkSync(join(process.cwd(), 'node_modules'), join(tree, 'node_modules'))
  }
  git(tree, 'checkout', '--', '.')
  execFileSync('npm', ['run', '-s', 'build:client'], { cwd: tree })
}

function report(): void {
  const found = resultsSoFar()
  const judged = sample.map((mutant) => ({ ...mutant, ...found.get(mutant.id) }))
  console.log('\nroom      mutants  killed  survived  not reached')
  for (const room of [...Object.keys(rooms), 'all']) {
    const here = judged.filter((mutant) => room === 'all' || mutant.room === room)
    const count = (wanted: string) => here.filter(({ outcome }) => outcome === wanted).length
    const figures = [here.length, count('killed'), count('survived'), count('unreached')]
    console.log(room.padEnd(8), ...figures.map((figure) => String(figure).padStart(8)))
  }
  const left = judged.filter(({ outcome }) => outcome !== 'killed')
  console.log(
    `\n${left.map((mutant) => `${mutant.outcome} ${mutant.complete ? '' : '(not all tests) '}${describe(mutant)}`).join('\n')}`,
  )
}

function resultsSoFar(): Map<string, Result> {
  const lines = existsSync(results) ? readFileSync(results, 'utf8').trim().split('\n') : []
  return new Map(lines.map((line) => JSON.parse(line) as Result).map((result) => [result.id, result]))
}

function describe({ file, line, kind, original, replacement }: Mutant): string {
  const short = (text: string) => text.replace(/\s+/g, ' ').slice(0, 60)
  return `${file}:${line} ${kind}: ${short(original)} => ${short(replacement)}`
}

function tool(name: string): string {
  return join(import.meta.dirname, name)
}

function git(cwd: string, ...args: string[]): string {
  return execFileSync('git', args, { cwd, encoding: 'utf8' }).trim()
}
