import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { newSecret } from '../../../src/secrets/cli/generate.ts'
import type { SourceError } from '../../../src/secrets/source-error.ts'
import { createSources } from '../../../src/secrets/sources.ts'
import { type ServerProcess, send, temporaryFolder } from '../../support/server.ts'
import { runStoreServer, secretsCommand, startStoreServer } from './servers.ts'
import { control } from './store-under-test.ts'
import { stores } from './stores.ts'
import { tokenWith, vault, vaultStore } from './vault.ts'

const isVaultThere = stores.includes(vaultStore)
const testOnVault = isVaultThere ? test : test.skip

let name: string
let policy: string
let asked: string[]
let refusedLogins: number
let lastToken: string
let proxy: Server
let servers: ServerProcess[]
beforeEach(async () => {
  name = `login-${randomUUID()}`
  policy = `path "secret/metadata/${name}" { capabilities = ["read"] }
            path "secret/data/${name}" { capabilities = ["read"] }`
  asked = []
  refusedLogins = 0
  servers = []
  proxy = await countingProxy()
})
afterEach(async () => {
  await Promise.all(servers.map((server) => server.end('SIGTERM')))
  proxy.close()
})

/** Starts a proxy to Vault that notes the path of every request, and counts the logins that Vault refused. */
async function countingProxy(): Promise<Server> {
  const server = createServer(async (req, res) => {
    asked.push(String(req.url).replace(/^\/v1\//, ''))
    const body = await new Response(req as never).text()
    lastToken = String(req.headers['x-vault-token'] ?? '')
    const headers = { 'X-Vault-Token': lastToken }
    const init = { method: String(req.method), headers, ...(body && { body }) }
    try {
      const answer = await fetch(`${vaultStore.environment.VAULT_ADDR}${req.url}`, init)
      if (req.url?.endsWith('auth/approle/login') && answer.status === 400) refusedLogins++
      res.writeHead(answer.status).end(await answer.text())
    } catch {
      res.destroy()
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

const counted = (path: string) => asked.filter((other) => other === path).length
const address = () => `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`

async function approle(settings: Record<string, unknown>) {
  const role = `role-${randomUUID()}`
  await vault('POST', 'sys/auth/approle', { type: 'approle' }).catch(() => {}) // There already.
  await vault('PUT', `sys/policies/acl/${role}`, { policy })
  await vault('POST', `auth/approle/role/${role}`, { token_policies: role, ...settings })
  const { data: id } = await vault('GET', `auth/approle/role/${role}/role-id`)
  const { data: secret } = await vault('POST', `auth/approle/role/${role}/secret-id`)
  const env = {
    VAULT_ADDR: address(),
    VAULT_ROLE_ID: (id as { role_id: string }).role_id,
    VAULT_SECRET_ID: (secret as { secret_id: string }).secret_id,
  }
  return { role, env }
}

async function start(
  settings: Record<string, string>,
): Promise<ServerProcess & { metrics(): Promise<string> }> {
  const server = await startStoreServer({
    JWT_ACCESS_SECRET: `ref+vault://secret/${name}#/ACCESS`,
    JWT_REFRESH_SECRET: `ref+vault://secret/${name}#/REFRESH`,
    SECRETS_REFRESH_SECONDS: '1',
    METRICS_PORT: '0',
    LOG_LEVEL: 'info',
    ...settings,
  })
  servers.push(server)
  const { url } = JSON.parse(server.output.find((line) => line.includes('"msg":"serving metrics"')) ?? '{}')
  return { ...server, metrics: async () => (await fetch(url)).text() }
}

const secrets = { ACCESS: newSecret(), REFRESH: newSecret() }
const putSecrets = () => vaultStore.put(name, JSON.stringify(secrets))
const keysOf = async (server: ServerProcess) => {
  const answer = await send('GET', `${server.url}/readyz`)
  return [answer.status, (answer.body.checks as Record<string, string>).keys]
}
const failedLoads = (metrics: string) => /auth_keys_load_failures_total (\d+)/.exec(metrics)?.[1]

testOnVault(
  'tokens of an AppRole are renewed before their end, and replaced by a new login at their maximum [E5]',
  async () => {
    await putSecrets()
    const server = await start((await approle({ token_ttl: '5s', token_max_ttl: '15s' })).env)

    await delay(60_000)

    expect(failedLoads(await server.metrics())).toBe('0')
    expect(await keysOf(server)).toEqual([200, 'ok'])
    // A token lives for 15 s at most, and is renewed in this time.
    const [logins, renewals] = [counted('auth/approle/login'), counted('auth/token/renew-self')]
    expect(logins).toBeGreaterThanOrEqual(4)
    expect(logins).toBeLessThanOrEqual(8)
    expect(renewals).toBeGreaterThanOrEqual(logins)
    expect(asked.length).toBeLessThan(60 * 4)
  },
)

testOnVault('a given token is renewed as long as it can be [E5]', async () => {
  await putSecrets()
  const token = await tokenWith(policy, { ttl: '15s', renewable: true })
  const server = await start({ VAULT_ADDR: address(), VAULT_TOKEN: token })

  await delay(35_000)

  expect(failedLoads(await server.metrics())).toBe('0')
  expect(counted('auth/token/renew-self')).toBeGreaterThanOrEqual(2)
})

/** Makes an AppRole whose secret id can be withdrawn and given back. */
async function revocable(settings: Record<string, unknown>) {
  const { role, env } = await approle(settings)
  const secret_id = randomUUID()
  const put = () => vault('POST', `auth/approle/role/${role}/custom-secret-id`, { secret_id })
  await put()
  return {
    env: { ...env, VAULT_SECRET_ID: secret_id },
    grant: put,
    revoke: () => vault('POST', `auth/approle/role/${role}/secret-id/destroy`, { secret_id }),
    newSecretId: async () => {
      const { data } = await vault('POST', `auth/approle/role/${role}/secret-id`)
      return (data as { secret_id: string }).secret_id
    },
  }
}

testOnVault(
  'a refused AppRole login is tried again every four minutes, which locks no role [E5]',
  async () => {
    await putSecrets()
    let now = Date.now()
    const { env, grant, revoke } = await revocable({})
    await revoke()
    const openSource = createSources(env, { clock: () => now })
    const read = async () => {
      const sources = ['ACCESS', 'REFRESH'].map((field) => openSource(`ref+vault://secret/${name}#/${field}`))
      return Promise.all(sources.map((source) => source.versions().catch((error: SourceError) => error)))
    }
    const refused = expect.objectContaining({ fault: 'denied', message: expect.stringMatching(/secret-id/) })

    // These are the logins of 15 minutes. For Vault they come in one moment, and it must not lock the role.
    for (const end = now + 900_000; now < end; now += 60_000) expect(await read()).toEqual([refused, refused])
    expect(counted('auth/approle/login')).toBe(4)
    await grant()
    now += 60_000

    expect(await read()).toMatchObject([[{ value: secrets.ACCESS }], [{ value: secrets.REFRESH }]])
    expect(counted('auth/approle/login')).toBe(5)
  },
)

// A slow answer makes the keys unreachable too. Only a refused login starts the pause.
const refusedNow = async (server: ServerProcess) => {
  for (let tries = 0; refusedLogins === 0 || (await keysOf(server))[1] !== 'unreachable'; tries++) {
    expect(tries).toBeLessThan(600)
    await delay(100)
  }
}
const readAgain = async (server: ServerProcess) => {
  for (let tries = 0; (await keysOf(server))[1] !== 'ok'; tries++) {
    expect(tries).toBeLessThan(600)
    await delay(100)
  }
}

testOnVault('after a refused AppRole login, SIGHUP logs in at once [E5]', async () => {
  await putSecrets()
  const { env, grant, revoke } = await revocable({ token_ttl: '3s', token_max_ttl: '3s' })
  const server = await start(env)
  await revoke()
  await refusedNow(server)
  const logins = counted('auth/approle/login')
  await grant()
  await delay(5_000)
  expect(await keysOf(server)).toEqual([200, 'unreachable'])
  expect(counted('auth/approle/login')).toBe(logins)

  server.process.kill('SIGHUP')

  await readAgain(server)
  expect(counted('auth/approle/login')).toBeGreaterThan(logins)
})

testOnVault('after a refused AppRole login, a new secret id in its file is tried at once [E5]', async () => {
  await putSecrets()
  const { env, revoke, newSecretId } = await revocable({ token_ttl: '3s', token_max_ttl: '3s' })
  const { VAULT_SECRET_ID, ...others } = env
  const file = join(temporaryFolder(), 'secret-id')
  writeFileSync(file, VAULT_SECRET_ID)
  const server = await start({ ...others, VAULT_SECRET_ID_FILE: file })
  await revoke()
  await refusedNow(server)

  writeFileSync(file, await newSecretId())

  await readAgain(server)
})

testOnVault('a token that ends before its time is replaced by a new login [E5]', async () => {
  await putSecrets()
  const { env } = await approle({ token_ttl: '1h' })
  const source = createSources(env)(`ref+vault://secret/${name}#/ACCESS`)
  const before = await source.versions()
  await delay(1_100)

  await vault('POST', 'auth/token/revoke', { token: lastToken })

  expect(await source.versions()).toEqual(before)
  expect(counted('auth/approle/login')).toBe(2)
})

const outages = control && isVaultThere ? test : test.skip
outages(
  'while Vault is sealed, killed and started again, no request fails, /readyz reports it, and the server recovers [E4]',
  async () => {
    await putSecrets()
    const server = await start({ VAULT_ADDR: address(), VAULT_TOKEN: String(process.env.TEST_VAULT_TOKEN) })
    const body = { email: `${randomUUID()}@example.com`, password: 'my dog is called rex' }
    let answer = await send('POST', `${server.url}/auth/register`, { body })
    const statuses: number[] = []
    let stop = false
    const load = (async () => {
      while (!stop) {
        answer = await send('POST', `${server.url}/auth/refresh`, {
          refreshToken: String(answer.refreshToken),
        })
        const me = await send('GET', `${server.url}/users/me`, { accessToken: answer.accessToken })
        statuses.push(answer.status, me.status)
        await delay(20)
      }
    })()
    const until = async (keys: string) => {
      for (const deadline = Date.now() + 20_000; Date.now() < deadline; await delay(100))
        if ((await keysOf(server))[1] === keys) return
      throw new Error(`/readyz never said ${keys}`)
    }
    const eventsAfter = (count: number) => server.output.slice(count).map((line) => JSON.parse(line))

    try {
      const quiet = server.output.length
      await vault('PUT', 'sys/seal')
      await until('unreachable')
      expect(await keysOf(server)).toEqual([200, 'unreachable'])
      expect(eventsAfter(quiet)).toContainEqual(
        expect.objectContaining({
          event: 'keys_reload_failed',
          reason: expect.stringMatching(/sealed\. Unseal it: bao operator unseal/),
        }),
      )

      await control?.('kill', 'openbao')
      await delay(3_000)
      expect(await keysOf(server)).toEqual([200, 'unreachable'])
    } finally {
      await control?.('up', 'openbao')
    }
    await putSecrets() // OpenBao in development mode forgets everything at a restart.
    await until('ok')
    expect(eventsAfter(0)).toContainEqual(expect.objectContaining({ event: 'keys_loaded' }))

    stop = true
    await load
    expect(statuses.length).toBeGreaterThan(100)
    expect(statuses.filter((status) => status !== 200)).toEqual([])
  },
)

testOnVault(
  'at the start a missing secret ends with 78 and an unavailable Vault with 1, both within 30 s [E4]',
  async () => {
    const settings = {
      VAULT_TOKEN: newSecret(),
      JWT_ACCESS_SECRET: `ref+vault://secret/${name}#/ACCESS`,
      JWT_REFRESH_SECRET: `ref+vault://secret/${name}#/REFRESH`,
    }
    const nobody = { VAULT_ADDR: 'http://127.0.0.1:58299' }
    const begin = performance.now()

    const [absent, unreachable, check] = await Promise.all([
      runStoreServer({ ...settings, ...vaultStore.environment }),
      runStoreServer({ ...settings, ...nobody }),
      secretsCommand(['check'], { ...settings, ...nobody }).catch((error) => error),
    ])

    expect(performance.now() - begin).toBeLessThan(30_000)
    expect(absent.code).toBe(78)
    expect(absent.stderr).toMatch(
      /^JWT_ACCESS_SECRET: The secret is not in Vault\. Create it, .*: bao kv put -mount=secret /m,
    )
    expect(unreachable.code).toBe(1)
    expect(check.code).toBe(1)
    expect(check.stdout).toMatch(/^JWT_ACCESS_SECRET .*not read .*Vault is unavailable/m)
    for (const { stderr } of [unreachable, check])
      expect(stderr).toMatch(/^JWT_ACCESS_SECRET: Vault is unavailable \(ECONNREFUSED\)/m)
    expect(check.stdout + check.stderr).not.toContain(settings.VAULT_TOKEN)
  },
)
