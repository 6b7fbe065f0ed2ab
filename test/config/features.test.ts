import { describe, expect, test } from '@jest/globals'
import { type Config, loadConfig } from '../../src/config/config.ts'
import { boolean, integer } from '../../src/config/values.ts'
import { newSecret } from '../../src/secrets/cli/generate.ts'

const notes = {
  name: 'notes',
  settings: {
    NOTES_PER_USER: integer(1, 10000).default(100).describe('The maximum number of notes per user.'),
    NOTES_SHARED: boolean.optional().describe('Whether users see the notes of others.'),
  },
} as const
const features = [notes, { name: 'bare' }] as const

const base = {
  NODE_ENV: 'development',
  JWT_ACCESS_SECRET: newSecret(),
  JWT_REFRESH_SECRET: newSecret(),
}

describe('settings that a feature declares', () => {
  test('arrive parsed, typed and frozen, under the name of the feature', async () => {
    const config = await loadConfig({ ...base, NOTES_PER_USER: '7' }, { features })

    const perUser: number = config.features.notes.NOTES_PER_USER
    const general: Config = config
    expect(perUser).toBe(7)
    expect(general.features).toEqual({ notes: { NOTES_PER_USER: 7 }, bare: {} })
    expect(Object.isFrozen(config.features.notes)).toBe(true)
  })

  test('have their defaults if the environment leaves them empty', async () => {
    const config = await loadConfig({ ...base, NOTES_PER_USER: '', NOTES_SHARED: '' }, { features })

    expect(config.features.notes).toEqual({ NOTES_PER_USER: 100 })
  })

  test('are reported together with the other settings', async () => {
    const env = { ...base, PORT: 'x', NOTES_PER_USER: '0', NOTES_SHARED: 'yes', JWT_ACCESS_SECRET: 'short' }

    await expect(loadConfig(env, { features })).rejects.toMatchObject({
      name: 'ConfigError',
      problems: [
        'PORT: must be a whole number from 0 to 65535, in decimal digits',
        'NOTES_PER_USER: must be a whole number from 1 to 10000, in decimal digits',
        'NOTES_SHARED: must be true or false',
        expect.stringMatching(/^JWT_ACCESS_SECRET: /),
      ],
    })
  })

  test.each([
    ['a setting of the server', { name: 'mine', settings: { PORT: integer(1, 2) } }, 'PORT'],
    ['a setting of another feature', { ...notes, name: 'mine' }, 'NOTES_PER_USER'],
  ])('must not have the name of %s', async (_whose, feature, name) => {
    await expect(loadConfig(base, { features: [notes, feature] })).rejects.toThrow(
      `The feature mine declares ${name}, which exists already. Choose another name.`,
    )
  })
})
