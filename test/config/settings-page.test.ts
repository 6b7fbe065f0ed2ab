import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'
import { loadConfig } from '../../src/config/config.ts'
import { integer } from '../../src/config/values.ts'
import { features } from '../../src/features.ts'
import { placeholder, secretProblem } from '../../src/secrets/policy.ts'
import { expectPart } from '../support/documents.ts'
import { envExample, settingsPage } from './settings-page.ts'

const notes = {
  name: 'notes',
  settings: {
    NOTES_PER_USER: integer(1, 10000).default(100).describe('The maximum number of notes per user.'),
  },
}

test('docs/settings.md and .env.example say what the settings say', () => {
  expectPart('docs/settings.md', /^[\s\S]*$/, settingsPage(features))
  expectPart('.env.example', /^[\s\S]*$/, envExample(features))
})

test('the README shows the ten settings that most people set, with their defaults', () => {
  const rowsOf = (page: string): string[] => page.match(/^\| `[A-Z_]+` \| [^|]*\|/gm) ?? []
  const rows = rowsOf(readFileSync('README.md', 'utf8').replace(/^[\s\S]*## Settings\n/, ''))

  expect(rows).toHaveLength(10)
  expect(rows.filter((row) => !rowsOf(settingsPage([])).includes(row))).toEqual([])
})

test('both pages show the settings of features', () => {
  expect(settingsPage([notes])).toContain(
    '## Feature: notes\n\n| Name | Default | Values | Meaning |\n|---|---|---|---|\n| `NOTES_PER_USER` | `100` | 1–10000 | The maximum number of notes per user. |\n',
  )
  expect(envExample([notes])).toContain('# The maximum number of notes per user.\n# NOTES_PER_USER=100\n')
})

test('a setting without a description is an error that says what to add', () => {
  const bare = { name: 'bare', settings: { BARE: integer(1, 2) } }

  expect(() => settingsPage([bare])).toThrow('BARE has no description.')
})

const lines = [...readFileSync('.env.example', 'utf8').matchAll(/^(# ?)?([A-Z][A-Z0-9_]*)=(.*)$/gm)].map(
  ([, comment, name = '', value = '']) => ({ name, value, active: comment === undefined }),
)

test('.env.example has placeholders for the secrets, and the policy refuses each [E1]', () => {
  const active = lines.filter((line) => line.active)

  expect(active.map(({ name }) => name)).toEqual(['JWT_ACCESS_SECRET', 'JWT_REFRESH_SECRET'])
  for (const { value } of active) {
    expect(value).toMatch(placeholder)
    expect(secretProblem(value)).toMatch(/^is a placeholder/)
  }
})

test('.env.example is valid once real secrets replace the placeholders', async () => {
  const secret = () => randomBytes(48).toString('base64url')
  const env = lines.map(({ name, value, active }) => [name, active ? secret() : value])

  const config = await loadConfig(Object.fromEntries(env), { features })

  expect(config.http.publicUrl).toBe('https://auth.example.com')
})
