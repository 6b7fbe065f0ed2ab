import { z } from 'zod'
import { type FeatureSettings, groups } from '../../src/config/settings.ts'
import { placeholder } from '../../src/secrets/policy.ts'

/** A setting, as the pages show it. */
interface Shown {
  name: string
  description: string
  /** The default, as a variable would hold it. */
  value: string
  computed?: string
  values: string
  example?: string
}

interface Group {
  title: string
  about?: string
  settings: Shown[]
}

const generated = 'Made from `src/config/settings.ts` by `npm run docs`. Change it there.'

/** Returns the text of docs/settings.md. */
export function settingsPage(features: readonly FeatureSettings[]): string {
  const sections = groupsWith(features).flatMap(({ title, about, settings }) => [
    `## ${title}`,
    ...(about ? [wrapped(about)] : []),
    ['| Name | Default | Values | Meaning |', '|---|---|---|---|', ...settings.map(row)].join('\n'),
  ])
  const intro = [
    '# Settings',
    `<!-- ${generated} -->`,
    wrapped(
      'Set them in the environment, or in `.env` in the working directory. The environment wins. An empty value means unset. Numbers are decimal digits. The server checks all settings before it listens. If one is wrong, it names every problem and exits with 78.',
    ),
    wrapped('`*_SECONDS` are seconds. [`.env.example`](../.env.example) is a file to start from.'),
  ]
  return `${[...intro, ...sections].join('\n\n')}\n`
}

/** Returns the row of a setting in a table of Markdown. */
function row({ name, value, computed, values, description }: Shown): string {
  const shown = computed ?? (value ? `\`${value}\`` : 'none')
  return `| \`${name}\` | ${shown} | ${values} | ${description} |`
}

/** Returns the text of .env.example. `npm run dev` replaces the placeholders in it, so they are not comments. */
export function envExample(features: readonly FeatureSettings[]): string {
  const sections = groupsWith(features).flatMap(({ title, about, settings }) => [
    `# --- ${title} ${'-'.repeat(110 - title.length)}`,
    ...(about ? [comment(about)] : []),
    ...settings.map(({ name, description, computed = '', value, example = value }) => {
      const note = computed && ` ${computed.startsWith('required') ? 'It is' : 'Default:'} ${computed}.`
      return `${comment(description + note)}\n${placeholder.test(example) ? '' : '# '}${name}=${example}`
    }),
  ])
  const intro = comment(
    `Copy this file to .env and change what you need. The environment wins over .env. A line that is commented out shows the default, or an example. docs/settings.md lists all values. ${generated}`,
  )
  return `${[intro, ...sections].join('\n\n')}\n`
}

function groupsWith(features: readonly FeatureSettings[]): Group[] {
  const ofFeatures = features.flatMap(({ name, settings }) =>
    settings && Object.keys(settings).length > 0 ? [{ title: `Feature: ${name}`, shape: settings }] : [],
  )
  return [...groups, ...ofFeatures].map(({ shape, ...group }) => ({ ...group, settings: shownOf(shape) }))
}

function shownOf(shape: z.ZodRawShape): Shown[] {
  const input = jsonSchemas(shape, 'input')
  return Object.entries(jsonSchemas(shape, 'output')).map(([name, output]) => {
    const { description, computed, example, values, minimum, maximum } = output
    if (!description) throw new Error(`${name} has no description. Add .describe('…') in its declaration.`)
    const range = minimum === undefined ? '' : `${minimum}–${maximum}`
    return {
      name,
      description,
      value: String(input[name]?.default ?? output.default ?? ''),
      values: values ?? output.enum?.map((one) => `\`${one}\``).join(', ') ?? range,
      ...(computed && { computed }),
      ...(example && { example }),
    }
  })
}

/** What JSON Schema says of a setting, with the words that its declaration adds. */
interface Schema {
  default?: unknown
  description?: string
  enum?: string[]
  minimum?: number
  maximum?: number
  computed?: string
  example?: string
  values?: string
}

function jsonSchemas(shape: z.ZodRawShape, io: 'input' | 'output') {
  return z.toJSONSchema(z.object(shape), { io, unrepresentable: 'any' }).properties as Record<string, Schema>
}

const comment = (text: string) => wrapped(text, 118).replace(/^/gm, '# ')

/** Breaks a text into lines. */
function wrapped(text: string, width = 120): string {
  return text.replace(new RegExp(`(.{1,${width}})(?:\\s+|$)`, 'g'), '$1\n').trimEnd()
}
