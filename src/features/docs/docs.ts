import { z } from 'zod'
import { boolean } from '../../config/values.ts'
import { AuthError } from '../../errors.ts'
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
    // All answers share the bytes. Otherwise each client that does not read its answer would hold a copy in memory.
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

const docsFile = route({
  method: 'get',
  path: '/docs/:file',
  checks: [],
  name: 'docsFile',
  group: 'Server',
  summary: 'Get a file of the page',
  answers: {
    200: {
      description: 'A script or a style sheet.',
      types: ['text/javascript', 'text/css'],
      body: z.string(),
    },
  },
  problems: ['not_found'],

  handler: () => {
    let files: ReturnType<typeof readFiles> | undefined
    return (req, res) => {
      files ??= readFiles()
      const name = String(req.params.file)
      const content = files.get(name)
      if (content === undefined) throw new AuthError('not_found')
      res.type(name).end(content)
    }
  },
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
