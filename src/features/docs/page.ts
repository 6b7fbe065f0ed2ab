import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/** The page to read and try the API. */
export const page = `<!doctype html>
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

// By default, Swagger UI sends the document to a validator of its makers.
const start = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#api', validatorUrl: null })
const dark = matchMedia('(prefers-color-scheme: dark)')
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
dark.addEventListener('change', follow)
follow()
`

/** Reads the files of the page. Swagger UI comes from its package, so that the page loads nothing from elsewhere. */
export function readFiles() {
  const folder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
  const read = (name: string) => [name, readFileSync(join(folder, name))] as const
  return new Map<string, Buffer | string>([
    ['start.js', start],
    read('swagger-ui.css'),
    read('swagger-ui-bundle.js'),
  ])
}
