import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'

/** The rows of a section, from the first to the last: A1 to A10, and so on. */
const sections = { A: 10, B: 10, C: 4, D: 6, E: 6, F: 4, G: 10 }
const expected = Object.entries(sections).flatMap(([letter, count]) =>
  Array.from({ length: count }, (_, i) => `${letter}${i + 1}`),
)

const rows = [
  ...readFileSync('docs/checklist.md', 'utf8').matchAll(/^\| ([A-G]\d+) \|.*\|(.*)\|(.*)\|$/gm),
].map(([, row = '', code = '', tests = '']) => ({ row, code, tests }))

/** What a cell names: `file` › `name`, `name`; `file` › … A name belongs to the file before it. */
function named(cell: string): { file: string; name?: string }[] {
  let file = ''
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, text = '']) => {
    if (!/^(src|test)\//.test(text)) return { file, name: text }
    file = text
    return { file }
  })
}

const read = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8') : '')
const isWord = (text: string, name: string) => new RegExp(`(?<![\\w$])${name}(?![\\w$])`).test(text)

/** Whether a test or suite has this title; before a last "…", whether one begins like that. */
function isTitle(source: string, title: string): boolean {
  const begins = title.endsWith('…')
  const text = begins ? title.slice(0, -1) : title
  return ["'", '"', '`'].some((quote) => source.includes(`${quote}${text}${begins ? '' : quote}`))
}

test('the checklist has every row, once and in order', () => {
  expect(rows.map(({ row }) => row)).toEqual(expected)
})

test.each([
  ['code', isWord],
  ['tests', isTitle],
] as const)('the %s that it names is there', (cell, isThere) => {
  const missing = rows.flatMap((row) =>
    named(row[cell])
      .filter(({ file, name }) => !existsSync(file) || (name && !isThere(read(file), name)))
      .map((wrong) => ({ row: row.row, ...wrong })),
  )

  expect(missing).toEqual([])
})

test('every row that a test says it is about is in the checklist', () => {
  const files = readdirSync('test', { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.test\.ts$/.test(name),
  )
  const titles = files.flatMap((name) => [
    ...read(`test/${name}`).matchAll(/\b(?:test|describe)\(\s*['"`](.*)/g),
  ])
  const about = titles.flatMap(([, title = '']) => /^(?:[A-G]\d+ )+/.exec(title)?.[0].trim().split(' ') ?? [])

  expect(about.length).toBeGreaterThan(50)
  expect(about.filter((row) => !expected.includes(row))).toEqual([])
})

test('every file that a page of the documentation names or links to is there', () => {
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
