import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import jwt from 'jsonwebtoken'
import { newSecret } from '../../../src/secrets/cli/generate.ts'
import { createPostgresDatabase } from '../../support/database.ts'
import { describeOnPostgres, postgresServer } from '../../support/require-postgres.ts'
import { type ServerProcess, send, temporaryFolder } from '../../support/server.ts'
import { secretsCommand, startStoreServer } from './servers.ts'
import { stores } from './stores.ts'

const seconds = (count: number) => delay(count * 1000)

const loadSeconds = 30
const requestsPerSecond = 100
const clients = 10
const lifetimes = { ACCESS_TOKEN_SECONDS: '10', SESSION_IDLE_SECONDS: '10', SECRETS_REFRESH_SECONDS: '1' }

interface Kept {
  name: string
  settings: Record<string, string>
  /** The first values of the two secrets. */
  access: string
  refresh: string
}

/** The places of two secrets: in each store, and in files, which keep no history. */
const sources = [
  ...stores.map((store) => ({
    name: store.name,
    async arrange(): Promise<Kept> {
      const id = randomUUID()
      const [access, refresh] = [newSecret(), newSecret()]
      await store.put(`${id}-access`, access)
      await store.put(`${id}-refresh`, refresh)
      const settings = {
        ...store.environment,
        JWT_ACCESS_SECRET: store.reference(`${id}-access`),
        JWT_REFRESH_SECRET: store.reference(`${id}-refresh`),
      }
      return { name: store.name, settings, access, refresh }
    },
  })),
  {
    name: 'files',
    async arrange(): Promise<Kept> {
      const folder = temporaryFolder()
      const [access, refresh] = [newSecret(), newSecret()]
      writeFileSync(join(folder, 'access'), access)
      writeFileSync(join(folder, 'refresh'), refresh)
      const settings = {
        JWT_ACCESS_SECRET: '',
        JWT_REFRESH_SECRET: '',
        JWT_ACCESS_SECRET_FILE: join(folder, 'access'),
        JWT_REFRESH_SECRET_FILE: join(folder, 'refresh'),
      }
      return { name: 'files', settings, access, refresh }
    },
  },
]

describeOnPostgres('secrets that rotate while two servers are under load', () => {
  describe.each(sources)('$name', ({ arrange }) => {
    let drop: () => Promise<void>
    let servers: ServerProcess[]
    let settings: Record<string, string>
    let kept: Kept
    beforeAll(async () => {
      const database = await createPostgresDatabase(postgresServer)
      drop = database.drop
      kept = await arrange()
      const common = {
        DATABASE_URL: database.url,
        PUBLIC_URL: 'http://localhost:3000',
        COOKIE_SECURE: 'false',
      }
      settings = { ...lifetimes, ...common, ...kept.settings }
      servers = await Promise.all([startStoreServer(settings), startStoreServer(settings)])
    })
    afterAll(async () => {
      await Promise.all(servers.map((server) => server.end('SIGTERM')))
      await drop()
    })

    test('lose no request and no login; the new keys sign, the old ones verify to their end, and then fail [E3]', async () => {
      const load = await createLoad(servers)
      const oldAccess = load.accessToken()
      const oldRefresh = load.refreshToken()
      const running = load.run(loadSeconds)

      await seconds(2)
      await secretsCommand(['rotate', 'JWT_ACCESS_SECRET'], settings)
      await secretsCommand(['rotate', 'JWT_REFRESH_SECRET'], settings)
      const rotatedAt = Date.now()
      // An old key verifies while its tokens may be valid…
      await seconds(2)
      expect(await statusWith(again(load.accessToken(), kept.access, oldAccess))).toBe(200)
      const { requests, failures } = await running

      expect(failures).toEqual([])
      expect(requests).toBeGreaterThan(0.95 * loadSeconds * requestsPerSecond)
      expect(load.kids.access.size).toBe(2)
      expect(load.kids.refresh.size).toBe(2)
      // …which is 2 × (1 + 2) s of staging, and the lifetime of a token. Then it fails.
      await delay(rotatedAt + (6 + 10 + 2) * 1000 - Date.now())
      expect(await statusWith(again(load.accessToken(), kept.access, oldAccess))).toBe(401)
      const forged = again(load.refreshToken(), kept.refresh, oldRefresh)
      const refused = await send('POST', `${servers[0]?.url}/auth/refresh`, { refreshToken: forged })
      expect([refused.status, refused.code]).toEqual([401, 'refresh_token_invalid'])
      const good = await send('POST', `${servers[1]?.url}/auth/refresh`, {
        refreshToken: load.refreshToken(),
      })
      expect(good.status).toBe(200)
    })

    const statusWith = async (accessToken: string) =>
      (await send('GET', `${servers[0]?.url}/users/me`, { accessToken })).status
  })
})

/** Returns the claims of a valid token, signed by the key of an older token. */
function again(token: string, secret: string, older: string): string {
  const header = jwt.decode(older, { complete: true })?.header
  return jwt.sign(jwt.decode(token) as object, secret, { header: header as jwt.JwtHeader })
}

const kidOf = (token: string) => String(jwt.decode(token, { complete: true })?.header.kid)

interface Client {
  accessToken: string
  refreshToken: string
  busy: boolean
}

/** Returns clients that refresh and ask who they are, at a steady rate, at each server in turn. */
async function createLoad(servers: ServerProcess[]) {
  const failures: string[] = []
  const kids = { access: new Set<string>(), refresh: new Set<string>() }
  let requests = 0
  const urlOf = (turn: number) => servers[turn % servers.length]?.url

  const all: Client[] = []
  for (let count = 0; count < clients; count++) {
    const body = { email: `${randomUUID()}@example.com`, password: 'my dog is called rex' }
    const answer = await send('POST', `${urlOf(count)}/auth/register`, { body })
    all.push({ accessToken: answer.accessToken, refreshToken: String(answer.refreshToken), busy: false })
  }

  async function refresh(client: Client, url: string | undefined): Promise<void> {
    client.busy = true
    const { status, code, accessToken, refreshToken } = await send(
      'POST',
      `${url}/auth/refresh`,
      client,
    ).finally(() => {
      client.busy = false
    })
    if (status !== 200) return void failures.push(`refresh: ${status} ${code}`)
    Object.assign(client, { accessToken, refreshToken })
    kids.access.add(kidOf(accessToken))
    kids.refresh.add(kidOf(String(refreshToken)))
  }

  async function whoAmI({ accessToken }: Client, url: string | undefined): Promise<void> {
    const { status, code } = await send('GET', `${url}/users/me`, { accessToken })
    if (status !== 200) failures.push(`/users/me: ${status} ${code}`)
  }

  async function one(turn: number): Promise<void> {
    const client = all[turn % all.length] as Client
    const work = Math.floor(turn / all.length) % 2 === 0 && !client.busy ? refresh : whoAmI
    requests++
    await work(client, urlOf(Math.floor(turn / 3))).catch((error) => failures.push(String(error)))
  }

  return {
    kids,
    accessToken: () => String(all[0]?.accessToken),
    refreshToken: () => String(all[0]?.refreshToken),
    async run(duration: number) {
      const begin = performance.now()
      const pending: Promise<void>[] = []
      for (let turn = 0; turn < duration * requestsPerSecond; turn++) {
        pending.push(one(turn))
        await delay(begin + (turn + 1) * (1000 / requestsPerSecond) - performance.now())
      }
      await Promise.all(pending)
      return { requests, failures }
    },
  }
}
