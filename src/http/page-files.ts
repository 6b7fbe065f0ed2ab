import { z } from 'zod'
import { AuthError } from '../errors.ts'
import { type Route, route } from './route.ts'

/**
 * Declares the route of the scripts and style sheets of a page.
 * @param read returns the content of a file, or undefined if the page has no file of this name
 */
export const pageFiles = (
  declaration: Pick<Route, 'path' | 'name' | 'group' | 'hidden'>,
  read: (name: string) => Buffer | string | undefined,
) =>
  route({
    ...declaration,
    method: 'get',
    checks: [],
    summary: 'Get a file of the page',
    answers: {
      200: {
        description: 'A script or a style sheet.',
        types: ['text/javascript', 'text/css'],
        body: z.string(),
      },
    },
    problems: ['not_found'],

    handler: () => (req, res) => {
      const name = String(req.params.file)
      const content = read(name)
      if (content === undefined) throw new AuthError('not_found')
      res.type(name).end(content)
    },
  })
