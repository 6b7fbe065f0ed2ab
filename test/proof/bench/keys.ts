// Compares the speed of verifying with keys from a store and from the environment. The rounds alternate in one process,
// which loads the store's keys again every second. Needs Vault or OpenBao: TEST_VAULT_ADDR and TEST_VAULT_TOKEN.
import { randomBytes, randomUUID } from 'node:crypto'
import { createAccessTokens } from '../../../src/auth/access-token.ts'
import { loadConfig } from '../../../src/config/config.ts'
import { delay } from '../../../src/retry.ts'
import { newSecret } from '../../../src/secrets/cli/generate.ts'
import { createLiveKeys } from '../../../src/secrets/live-keys.ts'
import { vaultStore } from '../stores/vault.ts'
import { median } from './statistics.ts'

const rounds = 41
const tokensPerRound = 4_000

if (!vaultStore.running) {
  process.stdout.write('Left out: keys of a store, as TEST_VAULT_ADDR and TEST_VAULT_TOKEN are not set\n')
  process.exit()
}

const [access, refresh] = [newSecret(), newSecret()]
const name = `bench-${randomUUID()}`
await vaultStore.put(name, JSON.stringify({ ACCESS: access, REFRESH: refresh }))

const fromStore = await verifier({
  ...vaultStore.environment,
  JWT_ACCESS_SECRET: vaultStore.reference(name, 'ACCESS'),
  JWT_REFRESH_SECRET: vaultStore.reference(name, 'REFRESH'),
})
const fromEnvironment = await verifier({ JWT_ACCESS_SECRET: access, JWT_REFRESH_SECRET: refresh })

const ratios: number[] = []
for (let round = 0; round < rounds + 3; round++) {
  const sides = [fromStore, fromEnvironment]
  const times = new Map<typeof fromStore, number>()
  for (const side of round % 2 ? sides.toReversed() : sides) times.set(side, await side.round())
  // The first rounds warm up. A speed is the ratio of tokens per second.
  if (round >= 3) ratios.push((times.get(fromEnvironment) ?? 0) / (times.get(fromStore) ?? 0))
}
const [low, high] = [Math.min(...ratios), Math.max(...ratios)].map((value) => value.toFixed(2))
process.stdout.write(
  `verifications per second, keys from a store / from the environment: ${median(ratios).toFixed(3)} (${low}–${high}); goal: at least 0.97\n`,
)
fromStore.close()
fromEnvironment.close()
process.exit()

async function verifier(environment: Record<string, string>) {
  const config = await loadConfig({
    NODE_ENV: 'test',
    SECRETS_REFRESH_SECONDS: '1',
    PUBLIC_URL: 'http://localhost:3000',
    ...environment,
  })
  const keys = await createLiveKeys({
    secrets: config.secrets,
    ...config.keys,
    accessTokenSeconds: 900,
    refreshTokenSeconds: 604_800,
    clock: Date.now,
    delay,
    onEvent: () => {},
    onWarning: () => {},
  })
  const tokens = createAccessTokens({
    keys: keys.access,
    issuer: 'http://localhost:3000',
    audience: 'http://localhost:3000',
    lifetimeSeconds: 900,
    clock: Date.now,
    randomId: randomUUID,
  })
  const inAnHour = new Date(Date.now() + 3_600_000)
  const { accessToken: token } = tokens.signer()(
    {
      ...{ userId: randomUUID(), id: randomBytes(16).toString('base64url') },
      ...{ amr: ['pwd'], authenticatedAt: new Date(), usableUntil: inAnHour },
    },
    'user',
  )
  return {
    close: keys.close,
    /** Milliseconds of a round. */
    async round(): Promise<number> {
      const begin = performance.now()
      for (let count = 0; count < tokensPerRound; count++) await tokens.verify(token)
      return performance.now() - begin
    },
  }
}
