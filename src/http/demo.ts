import { readFileSync } from 'node:fs'
import type { RequestHandler } from 'express'
import { AuthError } from '../auth/errors.ts'
import { pagePolicy } from './docs.ts'

// Built from src/client, beside it where the server is built too. Read when asked for, as another build may have come.
const read = (name: string) => readFileSync(new URL(`../../dist/client/${name}`, import.meta.url))

const files = ['demo.css', 'demo.js', 'auth-client.js']

/** The page to try the server, with the client of `src/client`. */
export const demoPage: RequestHandler = (_req, res) => {
  const policy = `${pagePolicy}; require-trusted-types-for 'script'; trusted-types 'none'`
  res.set('Content-Security-Policy', policy).type('html').send(read('demo.html'))
}

/** What the page is made of. */
export const demoFile: RequestHandler = (req, res) => {
  const name = String(req.params.file)
  if (!files.includes(name)) throw new AuthError('not_found')
  res.type(name).send(read(name))
}
