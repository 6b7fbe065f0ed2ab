import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import { loadConfig, settings } from '../src/config/config.ts'
import { openapiDocument } from '../src/http/openapi.ts'
import { placeholder, secretProblem } from '../src/secrets/policy.ts'
import type { Limit } from '../src/store/attempts.ts'

const names = Object.keys(settings.shape).sort()

/** The defaults that the schema knows; others depend on other settings, or there are none. */
const defaults = new Map(
  Object.entries(settings.shape).flatMap(([name, field]) => {
    const { data } = field.safeParse(undefined)
    const shown = isLimit(data) ? `${data.attempts}/${data.seconds}` : data
    return typeof shown === 'string' || typeof shown === 'number' ? [[name, String(shown)] as const] : []
  }),
)

function isLimit(data: unknown): data is Limit {
  return typeof data === 'object' && data !== null && 'attempts' in data
}

describe('.env.example', () => {
  const lines = [...readFileSync('.env.example', 'utf8').matchAll(/^(# ?)?([A-Z][A-Z0-9_]*)=(.*)$/gm)].map(
    ([, comment, name = '', value = '']) => ({ name, value, active: comment === undefined }),
  )

  test('names every setting once, and nothing else', () => {
    expect(lines.map(({ name }) => name).sort()).toEqual(names)
  })

  test('shows the defaults of the schema', () => {
    const shown = lines.filter(({ name, active }) => !active && defaults.has(name))

    expect(shown.map(({ name, value }) => [name, value])).toEqual(
      shown.map(({ name }) => [name, defaults.get(name)]),
    )
    expect(shown.map(({ name }) => name).sort()).toEqual([...defaults.keys()].sort())
  })

  test('E1 has placeholders for the secrets, all refused as such', () => {
    const active = lines.filter((line) => line.active)

    expect(active.map(({ name }) => name)).toEqual(['JWT_ACCESS_SECRET', 'JWT_REFRESH_SECRET'])
    for (const { value } of active) {
      expect(value).toMatch(placeholder)
      expect(secretProblem(value)).toMatch(/^is a placeholder; /)
    }
  })

  test('is valid as a whole, once the placeholders are replaced', async () => {
    const env = lines.map(({ name, value, active }) => [
      name,
      active ? randomBytes(48).toString('base64url') : value,
    ])

    const config = await loadConfig(Object.fromEntries(env))

    expect(config.http.publicUrl).toBe('https://auth.example.com')
  })
})

describe('README.md', () => {
  /** The cells of the settings' table: names, and the default of each. */
  function table(): { name: string; shown: string }[] {
    const [, rows = ''] =
      /^\| Name \| Default \| Meaning \|\n\|[-:| ]+\|\n((?:\|.*\n)+)/m.exec(readme()) ?? []
    return rows
      .trimEnd()
      .split('\n')
      .flatMap((row) => {
        const [, first = '', second = ''] = row.split(/(?<!\\)\|/)
        const shown = second.split(/,(?=\s)/)
        return [...first.matchAll(/`([^`]+)`/g)].map(([, name = ''], index) => ({
          name,
          shown: (shown[index] ?? '').trim(),
        }))
      })
  }
  const readme = () => readFileSync('README.md', 'utf8')

  test('B10 concedes what rotation cannot stop', () => {
    expect(readme()).toMatch(/script that runs in your page acts as the user/)
  })

  test('names every setting once in its table, and nothing else', () => {
    expect(
      table()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(names)
  })

  test('shows the defaults of the schema', () => {
    const shown = table().filter(({ name }) => defaults.has(name))

    expect(shown.map((row) => [row.name, /`([^`]+)`/.exec(row.shown)?.[1]])).toEqual(
      shown.map(({ name }) => [name, defaults.get(name)]),
    )
    expect(shown).toHaveLength(defaults.size)
  })

  test('names every route in its table, but for the files of the page /docs', () => {
    const { paths = {} } = openapiDocument({ publicUrl: '', cookieName: '' })
    const routes = Object.entries(paths).flatMap(([path, item]) =>
      Object.keys(item).map((method) => `${method.toUpperCase()} ${path.replace('{id}', ':id')}`),
    )
    const rows = readme().match(/^\| `[A-Z]+ \/.*$/gm) ?? []

    const named = rows.flatMap((row) => row.match(/(?<=`)[A-Z]+ \/[^`]*/g))

    expect(named.sort()).toEqual(routes.filter((route) => route !== 'GET /docs/{file}').sort())
  })
})
