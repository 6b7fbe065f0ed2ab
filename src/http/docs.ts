import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { RequestHandler } from 'express'
import { AuthError } from '../errors.ts'

// Nothing here is loaded before it is asked for: it would make every start longer.

/** Serves the OpenAPI document. */
export function createOpenapi(server: { publicUrl: string; cookieName: string }): RequestHandler {
  // One for all answers: clients that do not read them would otherwise hold one each in memory.
  let document: Buffer | undefined
  return async (_req, res) => {
    const { openapiDocument } = await import('./openapi.ts')
    document ??= Buffer.from(JSON.stringify(openapiDocument(server)))
    res.type('json').send(document)
  }
}

/** Content-Security-Policy of a page from this server alone. */
export const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join('; ')

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>API of the auth server</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<script src="/docs/swagger-ui-bundle.js" defer></script>
<script src="/docs/start.js" defer></script>
</head>
<body><div id="api"></div></body>
</html>
`

// By default it would have the document judged by a validator of its makers.
const start = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#api', validatorUrl: null })
const dark = matchMedia('(prefers-color-scheme: dark)')
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
dark.addEventListener('change', follow)
follow()
`

/** A page to read and try the API: Swagger UI, from this server alone. */
export const docsPage: RequestHandler = (_req, res) => {
  res.set('Content-Security-Policy', pagePolicy).type('html').send(page)
}

let files: Map<string, Buffer | string> | undefined

/** What the page is made of. */
export const docsFile: RequestHandler = (req, res) => {
  files ??= readFiles()
  const name = String(req.params.file)
  const content = files.get(name)
  if (content === undefined) throw new AuthError('not_found')
  res.type(name).send(content)
}

function readFiles() {
  const folder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
  const read = (name: string) => [name, readFileSync(join(folder, name))] as const
  return new Map<string, Buffer | string>([
    ['start.js', start],
    read('swagger-ui.css'),
    read('swagger-ui-bundle.js'),
  ])
}
