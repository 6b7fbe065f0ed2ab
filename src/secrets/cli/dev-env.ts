// Creates `.env` for development: `.env.example` with new secrets instead of placeholders. Never changes an existing `.env`.
import { readFileSync, writeFileSync } from 'node:fs'
import { codeOf } from '../../errors.ts'
import { placeholder } from '../policy.ts'
import { newSecret } from './generate.ts'

const example = readFileSync('.env.example', 'utf8')
const text = example.replace(/^(\w+)=(.+)$/gm, (line, name, value) =>
  placeholder.test(value) ? `${name}=${newSecret()}` : line,
)
try {
  writeFileSync('.env', text, { flag: 'wx', mode: 0o600 })
  console.log('Made .env with new secrets. They are for this machine only. Git ignores .env.')
} catch (error) {
  if (codeOf(error) !== 'EEXIST') throw error
}
