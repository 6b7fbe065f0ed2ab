import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, jest, test } from '@jest/globals'
import { createPostgresDatabase } from '../../support/database.ts'
import { describeOnPostgres, postgresServer } from '../../support/require-postgres.ts'
import { generationOf, type ServerProcess, send, startServer, temporaryFolder } from '../../support/server.ts'
import { longTestMs } from '../../support/time-limits.js'

jest.setTimeout(longTestMs)

const clients = 4
const rounds = Number(process.env.KILL_ROUNDS || 100)

describe('the embedded database', () => {
  test(`loses no answered refresh in ${rounds} times kill -9 [G3]`, async () => {
    await killAndContinue({ DATA_DIR: temporaryFolder() })
  })
})

describeOnPostgres('PostgreSQL', () => {
  test(`loses no answered refresh in ${rounds} times kill -9 [G3]`, async () => {
    const { url, drop } = await createPostgresDatabase(postgresServer)
    await killAndContinue({ DATABASE_URL: url })
    await drop()
  })
})

// Each client goes on with the last token it has an answer with. It may be that the server has rotated it and died
// before it answered: then the successor is issued again. What was acknowledged is there, and there is no branch.
async function killAndContinue(settings: Record<string, string>): Promise<void> {
  const allSettings = { ...settings, PUBLIC_URL: 'http://localhost:3000', LOG_LEVEL: 'info' }
  let graced = 0
  let server = await startServer(allSettings)
  let tokens = await Promise.all(Array.from({ length: clients }, (_, client) => register(server, client)))

  for (let round = 0; round < rounds; round++) {
    let running = true
    const loops = tokens.map(async (start) => {
      let token = start
      while (running) {
        const answer = await refresh(server, token).catch(() => undefined)
        if (!answer) return token
        expect(answer.status).toBe(200)
        token = answer.refreshToken as string
      }
      return token
    })
    await delay(20 + Math.random() * 80)
    graced += await endAndCountGraced(server, 'SIGKILL')
    running = false
    const acknowledged = await Promise.all(loops)

    server = await startServer(allSettings)
    tokens = await Promise.all(
      acknowledged.map(async (token) => {
        const [once, again] = [await refresh(server, token), await refresh(server, token)]
        expect([once.status, again.status]).toEqual([200, 200])
        expect(again.refreshToken).toBe(once.refreshToken)
        expect(generationOf(once.refreshToken)).toBe(generationOf(token) + 1)
        return once.refreshToken as string
      }),
    )
  }
  graced += await endAndCountGraced(server, 'SIGTERM')
  const lostAnswers = graced - rounds * clients
  process.stderr.write(
    `${rounds} kills; ${lostAnswers} of ${rounds * clients} answers were lost after the rotation\n`,
  )
}

// Every client presents its token twice after a kill. What is graced beyond that was rotated before it, unanswered.
async function endAndCountGraced(server: ServerProcess, signal: NodeJS.Signals): Promise<number> {
  const { stdout } = await server.end(signal)
  return stdout.split('\n').filter((line) => line.includes('refresh_graced')).length
}

async function register(server: ServerProcess, client: number): Promise<string> {
  const body = { email: `user-${client}@example.com`, password: 'my dog is called rex' }
  return (await send('POST', `${server.url}/auth/register`, { body })).refreshToken as string
}

function refresh(server: ServerProcess, refreshToken: string) {
  return send('POST', `${server.url}/auth/refresh`, { refreshToken })
}
