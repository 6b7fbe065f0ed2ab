import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import { nameOf, routes } from './support/routes.ts'

describe('README.md', () => {
  const readme = () => readFileSync('README.md', 'utf8')

  test('concedes what rotation cannot stop [B10]', () => {
    expect(readme()).toMatch(/script that runs in your page acts as the user/)
  })

  test('names every route in its table, except the files of /docs', () => {
    const documented = routes.filter(({ hidden, path }) => !hidden && path !== '/docs/:file')
    const rows = readme().match(/^\| `[A-Z]+ \/.*$/gm) ?? []

    const named = rows.flatMap((row) => row.match(/(?<=`)[A-Z]+ \/[^`]*/g))

    expect(named.sort()).toEqual(documented.map(nameOf).sort())
  })
})

describe('docs/reading.md', () => {
  const [list = ''] = readFileSync('docs/reading.md', 'utf8').split('## Ask yourself')
  const files = [...list.matchAll(/^\| `([^`]+)` \|/gm)].map(([, file = '']) => file)
  const linesOf = (file: string) => readFileSync(file, 'utf8').split('\n').length - 1

  test('lists files that exist: at most 20, with 1,600 lines', () => {
    const lines = files.map(linesOf).reduce((sum, count) => sum + count, 0)

    expect(files.length).toBeGreaterThan(15)
    expect(files.length).toBeLessThanOrEqual(20)
    expect(lines).toBeLessThanOrEqual(1600)
  })
})
