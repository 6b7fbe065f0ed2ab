import { execFileSync, spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { parse, parseAllDocuments } from 'yaml'
import { loadConfig } from '../src/config/config.ts'
import { referenceNames } from '../src/config/environment.ts'
import { settings } from '../src/config/settings.ts'
import { send, useTestApp } from './support/app.ts'

const read = (path: string) => readFileSync(path, 'utf8')
const dockerfile = read('Dockerfile')
const compose = parse(read('compose.yaml'))
const workflow = parse(read('.github/workflows/ci.yml'))
const kubernetes = parseAllDocuments(read('docs/kubernetes.yaml')).map((document) => document.toJS())
const ofKind = (kind: string) => kubernetes.find((object) => object.kind === kind)
const [container] = ofKind('Deployment').spec.template.spec.containers

const imageSettings = Object.fromEntries(
  [...(/^ENV (.*)$/m.exec(dockerfile)?.[1] ?? '').matchAll(/(\w+)=(\S+)/g)].map(([, name, value]) => [
    name,
    value,
  ]),
)
const composeSettings: Record<string, string> = compose.services.server.environment
const kubernetesSettings: Record<string, string> = Object.fromEntries(
  container.env.map(({ name, value }: { name: string; value: string }) => [name, value]),
)

test.each([
  ['Dockerfile', imageSettings],
  ['compose.yaml', composeSettings],
  ['docs/kubernetes.yaml', kubernetesSettings],
])('%s sets only settings that exist', (_file, set) => {
  const known = [...Object.keys(settings.shape), ...referenceNames.map((name) => `${name}_FILE`)]

  expect(Object.keys(set).filter((name) => !known.includes(name))).toEqual([])
  expect(Object.keys(set)).not.toHaveLength(0)
})

describe('compose.yaml', () => {
  test('is a valid configuration with the secrets that the command of docs/deployment.md makes', async () => {
    const [, command = ''] = /```sh\n(mkdir .*?)\n```/s.exec(read('docs/deployment.md')) ?? []
    const folder = mkdtempSync(join(tmpdir(), 'auth-compose-'))
    try {
      execFileSync('sh', ['-ec', command], { cwd: folder })
      const here = Object.entries(composeSettings).map(([name, value]) => [
        name,
        value.replace('/run/secrets/', `${folder}/.secrets/`),
      ])

      const config = await loadConfig(Object.fromEntries(here))

      const password = read(`${folder}/.secrets/auth_password`)
      expect(config.database.url()).toBe(`postgres://auth:${password}@postgres:5432/auth`)
      expect(statSync(`${folder}/.secrets`).mode & 0o777).toBe(0o700)
      expect(statSync(`${folder}/.secrets/jwt_access`).mode & 0o777).toBe(0o644)
    } finally {
      rmSync(folder, { recursive: true })
    }
    expect(command).toContain(workflow.jobs.image.steps[1].run.trim())
  })

  test('gives each service only the secrets that it names', () => {
    const namedIn = (text: string) => [...text.matchAll(/\/run\/secrets\/(\w+)/g)].map(([, name]) => name)
    const { server, migrate, postgres } = compose.services
    const named = {
      server: namedIn(JSON.stringify(server)),
      migrate: namedIn(JSON.stringify(migrate)),
      postgres: namedIn(JSON.stringify(postgres) + read('docs/roles.sql')),
    }

    expect({ server: server.secrets, migrate: migrate.secrets, postgres: postgres.secrets }).toEqual(named)
    expect(Object.keys(compose.secrets).sort()).toEqual(Object.values(named).flat().sort())
  })

  test('starts the server after the owner has migrated, with a role that owns no table', () => {
    const { server, migrate } = compose.services

    expect(server.depends_on).toEqual({ migrate: { condition: 'service_completed_successfully' } })
    expect(migrate.command).toEqual(['node', 'dist/migrate.js', '--grant', 'auth'])
    expect(compose.services.postgres.volumes).toContain(
      './docs/roles.sql:/docker-entrypoint-initdb.d/roles.sql:ro',
    )
  })
})

describe('the probes of the image and of Kubernetes', () => {
  const t = useTestApp()

  test('ask for routes that exist', async () => {
    const probes = ['startupProbe', 'livenessProbe', 'readinessProbe'].map(
      (probe) => container[probe].httpGet.path,
    )
    const healthcheck = /\/\w+(?=`\))/.exec(dockerfile)?.[0]

    for (const path of [...probes, healthcheck]) await send(t.app, `GET ${path}`).expect(200)
  })
})

test('the Kubernetes example lets pods reach only DNS and PostgreSQL', () => {
  const { policyTypes, egress } = ofKind('NetworkPolicy').spec

  expect(policyTypes).toEqual(['Ingress', 'Egress'])
  expect(egress.map(({ ports }: { ports: { port: number }[] }) => ports.map(({ port }) => port))).toEqual([
    [53, 53],
    [5432],
  ])
  for (const { to } of egress) expect(to).not.toHaveLength(0)
})

test('the Kubernetes example exposes the port of the server, and not the port of the metrics', () => {
  const ports = Object.fromEntries(
    container.ports.map(({ name, containerPort }: Record<string, unknown>) => [name, containerPort]),
  )

  expect(ports).toEqual({ http: 3000, metrics: Number(kubernetesSettings.METRICS_PORT) })
  expect(ofKind('Service').spec.ports.map((port: { targetPort: string }) => port.targetPort)).toEqual([
    'http',
  ])
})

test('all stages of the image have the newest version of Node in CI, and CI also tests the oldest supported version', () => {
  const images = new Set([...dockerfile.matchAll(/^FROM node:([\d.]+)-/gm)].map(([, version]) => version))
  const { engines } = JSON.parse(read('package.json'))
  const tested: string[] = workflow.jobs.test.strategy.matrix.node

  expect([...images]).toEqual([tested.at(-1)])
  expect(engines.node).toBe(`>=${tested[0]}`)
})

test('compose.yaml, CI, docs/deployment.md and docs/CONTRIBUTING.md name one version of PostgreSQL', () => {
  const { image } = compose.services.postgres
  const [, version] = /^postgres:(\d+)\.\d+-/.exec(image) ?? []

  for (const { services } of [workflow.jobs.test, workflow.jobs.stores])
    expect(services.postgres.image).toBe(image)
  expect(read('docs/CONTRIBUTING.md').match(/postgres:[\w.-]+-bookworm/g)).toEqual([image])
  expect(read('docs/deployment.md')).toContain(`Tested on PostgreSQL 15 and ${version}`)
})

test.each(['start', 'migrate'])('npm run %s without a build says which command to run', (name) => {
  const folder = mkdtempSync(join(tmpdir(), 'auth-unbuilt-'))
  try {
    cpSync('package.json', join(folder, 'package.json'))
    const { status, stderr } = spawnSync('npm', ['run', '-s', name], { cwd: folder, encoding: 'utf8' })

    expect(stderr).toBe('Not built. Run npm run build.\n')
    expect(status).toBe(1)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('Jest finds the suites of each project if the folder of the clone has special characters in its name', () => {
  const outside = mkdtempSync(join(tmpdir(), 'auth-clone-'))
  const clone = join(outside, 'test/proof/stores/auth (1) [x] a!b {c,d} +(e)')
  const files = {
    quick: 'http/a',
    proof: 'proof/b',
    processes: 'proof/processes/c',
    stores: 'proof/stores/d',
    browser: 'proof/browser/e',
  }
  try {
    const setups = [
      'test/support',
      'test/proof/stores/install-sdks.ts',
      'test/proof/browser/require-browser.ts',
    ]
    for (const file of ['jest.config.js', 'package.json', ...setups])
      cpSync(file, join(clone, file), { recursive: true })
    for (const file of Object.values(files)) {
      mkdirSync(dirname(join(clone, 'test', file)), { recursive: true })
      writeFileSync(join(clone, 'test', `${file}.test.ts`), '')
    }
    mkdirSync(join(clone, 'src/features'), { recursive: true })
    symlinkSync(resolve('node_modules'), join(clone, 'node_modules'))

    for (const [project, file] of Object.entries(files)) {
      const args = ['node_modules/jest/bin/jest.js', '--listTests', '--selectProjects', project]
      const found = execFileSync(process.execPath, args, { cwd: clone, encoding: 'utf8' })
      const paths = found.split('\n').filter((line) => line.endsWith('.test.ts'))
      expect(paths).toEqual([join(realpathSync(clone), 'test', `${file}.test.ts`)])
    }
  } finally {
    rmSync(outside, { recursive: true })
  }
})

// Only a checkout can be cloned; an archive has no history.
const testOnCheckout = existsSync('.git') ? test : test.skip
testOnCheckout(
  'a clone of Git for Windows, with core.autocrlf, has the same bytes as the repository [E1]',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'auth-clone-'))
    try {
      execFileSync('git', ['clone', '-q', '-c', 'core.autocrlf=true', '.', folder])
      const git = (...args: string[]) => execFileSync('git', args, { cwd: folder, encoding: 'utf8' })

      expect(
        git('ls-files', '--eol')
          .split('\n')
          .filter((line) => /\bw\/(crlf|mixed)\b/.test(line)),
      ).toEqual([])
      expect(git('status', '--porcelain')).toBe('')
      // With that checkout the rule works, which reads its list of digests from a file.
      symlinkSync(join(process.cwd(), 'node_modules'), join(folder, 'node_modules'))
      const known = '404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970'
      const program = `import { secretProblem } from './src/secrets/policy.ts'; console.log(secretProblem('${known}'))`
      const tsx = ['--import', 'tsx', '--input-type=module', '-e', program]
      expect(execFileSync(process.execPath, tsx, { cwd: folder, encoding: 'utf8' })).toMatch(
        /^is publicly known/,
      )
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
)
