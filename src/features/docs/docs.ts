import { z } from 'zod'
import { boolean } from '../../config/values.ts'
import { pageFiles } from '../../http/page-files.ts'
import { pagePolicy } from '../../http/page-policy.ts'
import { route } from '../../http/route.ts'
import { type Core, feature } from '../feature.ts'
import { page, readFiles } from './page.ts'

const openapi = route({
  method: 'get',
  path: '/openapi.json',
  checks: [],
  name: 'openapi',
  group: 'Server',
  summary: 'Get this document',
  answers: { 200: { description: 'An OpenAPI 3.1 document.', body: z.looseObject({ openapi: z.string() }) } },

  handler: ({ publicUrl, cookies, routes, problems }: Core) => {
    // All responses share the bytes. Otherwise each client that does not read its response would hold a copy in memory.
    let document: Buffer | undefined
    return async (_req, res) => {
      // Loaded at the first request, because it would make every start longer.
      const { openapiDocument } = await import('./openapi.ts')
      const cookieName = cookies.refresh.name
      document ??= Buffer.from(
        JSON.stringify(openapiDocument({ publicUrl, cookieName, routes: routes(), problems })),
      )
      res.type('json').end(document)
    }
  },
})

const docsPage = route({
  method: 'get',
  path: '/docs',
  checks: [],
  name: 'docs',
  group: 'Server',
  summary: 'Read and try the API',
  answers: { 200: { description: 'A page for browsers.', types: ['text/html'], body: z.string() } },

  handler: () => (_req, res) => {
    res.set('Content-Security-Policy', pagePolicy).type('html').send(page)
  },
})

// Read at the first request, because most processes never show the page.
let files: ReturnType<typeof readFiles> | undefined
const docsFile = pageFiles({ path: '/docs/:file', name: 'docsFile', group: 'Server' }, (name) => {
  files ??= readFiles()
  return files.get(name)
})

/** The OpenAPI document, and Swagger UI to read and try the API. */
export const docs = feature({
  name: 'docs',
  settings: { DOCS: boolean.default(true).describe('The pages `/docs` and `/openapi.json`. `false`: 404.') },
  routes: [openapi, docsPage, docsFile],
  page: { title: 'API', path: '/docs' },
  isOn: ({ DOCS }) => DOCS,
  create: () => ({}),
})
