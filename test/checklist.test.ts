import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { parseSync } from '@swc/core'
import { expectPart } from './support/documents.ts'

/** The rows of a section, from the first to the last: A1 to A10, and so on. */
const sections = { A: 10, B: 12, C: 4, D: 6, E: 6, F: 4, G: 10 }
const page = readFileSync('docs/checklist.md', 'utf8')
/** The rules of the life of an account. Features that a fork may delete hold them, so the page says which there are. */
const rules = [...page.matchAll(/^\| H(\d+) \|/gm)].map(([, rule]) => Number(rule)).sort((a, b) => a - b)
const expected = [
  ...Object.entries(sections).flatMap(([letter, count]) =>
    Array.from({ length: count }, (_, i) => `${letter}${i + 1}`),
  ),
  ...rules.map((rule) => `H${rule}`),
]

const rows = [...page.matchAll(/^\| ([A-H]\d+) \|.*\|(.*)\|(.*)\|$/gm)].map(([, row = '', code = '']) => ({
  row,
  code,
}))
const titles = [...filesIn('src'), ...filesIn('test')]
  .filter((name) => name.endsWith('.test.ts'))
  .flatMap((file) => titlesOf(file).map((title) => ({ file, rows: rowsOf(title) })))

test('the checklist has every row once, in order', () => {
  expect(rows.map(({ row }) => row)).toEqual(expected)
})

test('the checklist names only code that exists', () => {
  const missing = rows.flatMap(({ row, code }) =>
    namesIn(code)
      .filter(({ file, name }) => !existsSync(file) || (name && !isWord(read(file), name)))
      .map((wrong) => ({ row, ...wrong })),
  )

  expect(missing).toEqual([])
})

test('every row has a test, and every row that a title names is in the checklist', () => {
  const named = new Set(titles.flatMap(({ rows }) => rows))

  expect(
    expected
      .filter((row) => !named.has(row))
      .map((row) => `No test is about ${row}. End the title of one with [${row}].`),
  ).toEqual([])
  expect(
    [...named]
      .filter((row) => !expected.includes(row))
      .map((row) => `${row} is not in docs/checklist.md. Add the row, or fix the title.`),
  ).toEqual([])
})

test('the checklist names the files with the tests of each row', () => {
  const filesOf = (row: string) => [
    ...new Set(titles.filter(({ rows }) => rows.includes(row)).map(({ file }) => `\`${file}\``)),
  ]

  for (const { row } of rows)
    expectPart(
      'docs/checklist.md',
      new RegExp(`(?<=^\\| ${row} \\|.*\\| )[^|]*(?= \\|$)`, 'm'),
      filesOf(row).join(', '),
    )
})

test('every page of the documentation names and links to files that exist', () => {
  // That page names files that are to be made.
  const pages = readdirSync('docs', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md') && name !== 'growing.md')
    .map((name) => join('docs', name))
  const missing = ['README.md', ...pages].flatMap((page) => {
    const text = read(page)
    const named = [...text.matchAll(/`((?:src|test|docs)\/[\w./-]+)`/g)].map(([, file = '']) => file)
    const linked = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, to = '']) => join(page, '..', to))
    return [...named, ...linked].filter((file) => !existsSync(file)).map((file) => ({ page, file }))
  })

  expect(missing).toEqual([])
})

/** What a cell names: `file` › `name`, `name`; `file` › … A name belongs to the file before it. */
function namesIn(cell: string): { file: string; name?: string }[] {
  let file = ''
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, text = '']) => {
    if (!/^src\//.test(text)) return { file, name: text }
    file = text
    return { file }
  })
}

/** The rows that a title is about: `sends no token [B9]`, or `[B9, C1]`, or `[account 6]` for H6. */
function rowsOf(title: string): string[] {
  const rule = Number(/ \[account (\d+)\]$/.exec(title)?.[1])
  if (rules.includes(rule)) return [`H${rule}`]
  const ids = / \[([A-G]\d+(?:, [A-G]\d+)*)\]$/.exec(title)?.[1] ?? ''
  return ids.match(/[A-G]\d+/g) ?? []
}

/** The titles of a file's tests and suites: the first argument of calls such as `test('…', () => …)`. */
function titlesOf(file: string): string[] {
  const found: string[] = []
  const walk = (node: unknown) => {
    if (typeof node !== 'object' || node === null) return
    const { type, arguments: args } = node as { type?: string; arguments?: { expression: Title }[] }
    const first = args?.[0]?.expression
    if (type === 'CallExpression' && args && args.length > 1)
      found.push(first?.quasis?.map(({ cooked }) => cooked).join('…') ?? String(first?.value))
    for (const child of Object.values(node)) walk(child)
  }
  walk(parseSync(read(file), { syntax: 'typescript', target: 'es2023' }))
  return found
}

interface Title {
  value?: unknown
  quasis?: { cooked: string }[]
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
    .sort()
}

function read(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}

function isWord(text: string, name: string): boolean {
  return new RegExp(`(?<![\\w$])${name}(?![\\w$])`).test(text)
}
