import { expect, test } from '@jest/globals'
import { z } from 'zod'
import { loadConfig } from '../../src/config/config.ts'
import { features, problems } from '../../src/features.ts'
import { accessToken, liveSession } from '../../src/http/bearer.ts'
import { noBody } from '../../src/http/body.ts'
import { sameSite } from '../../src/http/cross-site.ts'
import { fresh } from '../../src/http/fresh.ts'
import { type Check, problemsOf, type Route, route } from '../../src/http/route.ts'
import { testEnvironment } from '../support/environment.ts'
import { nameOf, routes } from '../support/routes.ts'

/** Returns what is wrong with declarations of routes, one sentence each. */
function faultsOf(routes: readonly Route[], codes = Object.keys(problems)): string[] {
  return routes.flatMap((route, index) => {
    const before = routes.slice(0, index)
    const checks = route.checks as Check[]
    const at = (part: (check: Check) => boolean) => checks.findIndex(part)
    const isUnsafe = route.method !== 'get'
    const unknown = problemsOf(route).filter((code) => !codes.includes(code))
    const faults: [boolean, string][] = [
      [
        before.some((other) => nameOf(other) === nameOf(route)),
        'is declared twice. Delete one of the two, or change its method or path.',
      ],
      [
        before.some(({ name }) => name === route.name),
        `shares the name ${route.name} with another route. Change one: names are the operationIds of OpenAPI.`,
      ],
      [
        isUnsafe && checks[0] !== sameSite,
        'changes something, and its first check is not sameSite. Pages of other sites could call it. Add sameSite.',
      ],
      [
        isUnsafe && at(({ body }) => body !== undefined) < 0,
        'does not read its body. Add noBody, or jsonBody with a schema.',
      ],
      [
        checks.includes(liveSession) &&
          !(at((c) => c === accessToken) < at((c) => c === liveSession) && checks.includes(accessToken)),
        'has no accessToken before liveSession. Add it.',
      ],
      [
        checks.includes(fresh) &&
          !(at((c) => c === liveSession) < at((c) => c === fresh) && checks.includes(liveSession)),
        'has no liveSession before fresh. Add it.',
      ],
      [
        at(({ body }) => body !== undefined && body !== noBody.body) >= 0 && !route.example,
        'requires a body and has no example. Add a body that the route accepts.',
      ],
      [
        unknown.length > 0,
        `answers ${unknown.join(', ')}, which no feature has in its problems. Add it there.`,
      ],
    ]
    return faults.flatMap(([isFault, sentence]) => (isFault ? [`${nameOf(route)} ${sentence}`] : []))
  })
}

test('every route is declared well', () => {
  expect(faultsOf(routes)).toEqual([])
})

const good = route({
  method: 'post',
  path: '/good',
  checks: [sameSite, accessToken, noBody, liveSession],
  name: 'good',
  group: 'Test',
  summary: 'A route without faults',
  answers: { 204: { description: 'Done.' } },
  handler: () => (_req, res) => void res.status(204).end(),
})
const withBody: Check = { ...noBody, body: z.object({}) }

test.each<[string, Route[], RegExp]>([
  ['a path with one method twice', [good, { ...good, name: 'other' }], /^POST \/good is declared twice\./],
  ['a name twice', [good, { ...good, path: '/other' }], /^POST \/other shares the name good /],
  ['an unsafe method without sameSite', [{ ...good, checks: [noBody] }], /its first check is not sameSite/],
  ['an unsafe method that leaves its body', [{ ...good, checks: [sameSite] }], /does not read its body/],
  [
    'a live session without a token',
    [{ ...good, checks: [sameSite, noBody, liveSession] }],
    /no accessToken before/,
  ],
  [
    'a recent proof of identity without a live session',
    [{ ...good, checks: [sameSite, accessToken, noBody, fresh] }],
    /no liveSession before/,
  ],
  [
    'a body without an example',
    [{ ...good, checks: [sameSite, withBody] }],
    /requires a body and has no example/,
  ],
  [
    'a code without a problem',
    [{ ...good, problems: ['no_such_code' as 'not_found'] }],
    /answers no_such_code, which/,
  ],
])('a declaration with %s is an error that says what to do', (_what, declared, sentence) => {
  const faults = faultsOf(declared)

  expect(faults).toHaveLength(1)
  expect(faults[0]).toMatch(sentence)
})

test('a configuration without the settings of the features is an error that says what to pass', async () => {
  const config = await loadConfig(testEnvironment)

  for (const { isOn } of features) expect(() => isOn(config)).toThrow('Pass { features } to loadConfig.')
})
