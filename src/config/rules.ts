import type { Environment } from '../secrets/stores/secret-store.ts'
import { isLocal, isOnLocalNetwork } from './origins.ts'
import type { Settings } from './settings.ts'

/** A rule that one setting must keep because of another. */
interface Rule {
  setting: string
  /** @param set values of the settings that are valid on their own; `env`: all variables, as text */
  isBroken(set: Partial<Settings>, env: Environment): boolean | undefined
  message: string
}

const isProduction = (set: Partial<Settings>) => set.NODE_ENV === 'production'
const isPlainHttp = (url: string) => url.startsWith('http:') && !isLocal(url)

const rules: Rule[] = [
  {
    setting: 'PUBLIC_URL',
    isBroken: (set) => isProduction(set) && 'PUBLIC_URL' in set && set.PUBLIC_URL === undefined,
    message:
      'is required in production. Set it to the origin that browsers use, https://…, or set NODE_ENV=development.',
  },
  {
    setting: 'PUBLIC_URL',
    isBroken: ({ PUBLIC_URL: url, NODE_ENV }) =>
      url !== undefined && isPlainHttp(url) && !(NODE_ENV === 'development' && isOnLocalNetwork(url)),
    message: 'must be https. Use http on localhost only, and in development on the local network.',
  },
  {
    setting: 'COOKIE_SECURE',
    isBroken: (set) =>
      isProduction(set) &&
      set.COOKIE_SECURE === false &&
      set.PUBLIC_URL !== undefined &&
      !isLocal(set.PUBLIC_URL),
    message: 'must not be false in production, unless PUBLIC_URL is on localhost. Remove COOKIE_SECURE.',
  },
  {
    setting: 'DATABASE_URL',
    isBroken: (set, env) => isProduction(set) && !env.DATABASE_URL && !env.DATA_DIR,
    message:
      'is required in production. Set it to the URL of a PostgreSQL database, or set DATA_DIR to the folder of the embedded database.',
  },
  {
    setting: 'CORS_ORIGINS',
    isBroken: (set) => isProduction(set) && set.CORS_ORIGINS?.some(isPlainHttp),
    message: 'must be https in production. Use http for localhost only.',
  },
  {
    setting: 'MAIL_FROM',
    isBroken: (set) => set.SMTP_URL !== undefined && 'MAIL_FROM' in set && set.MAIL_FROM === undefined,
    message:
      'is required with SMTP_URL. Set it to the sender of the mails, auth@example.com or Name <auth@example.com>.',
  },
  {
    setting: 'REGISTRATION',
    isBroken: (set) => isProduction(set) && set.REGISTRATION === 'verified' && set.SMTP_URL === undefined,
    message: 'must not be verified without mail. Set SMTP_URL, or set REGISTRATION to open or closed.',
  },
  {
    setting: 'ACCOUNT_URL',
    isBroken: ({ ACCOUNT_URL: url, PUBLIC_URL, PORT, CORS_ORIGINS = [] }) =>
      url !== undefined &&
      ![PUBLIC_URL ?? `http://localhost:${PORT}`, ...CORS_ORIGINS].includes(new URL(url).origin),
    message:
      'must be a page of PUBLIC_URL or of one of CORS_ORIGINS. Change it, or add its origin to CORS_ORIGINS.',
  },
  {
    setting: 'NODE_TLS_REJECT_UNAUTHORIZED',
    isBroken: (set, env) => isProduction(set) && env.NODE_TLS_REJECT_UNAUTHORIZED === '0',
    message:
      'must not be 0 in production, because 0 turns off certificate checks. Remove it. If you have your own certificate authority, put its file in NODE_EXTRA_CA_CERTS.',
  },
  {
    setting: 'VAULT_ADDR',
    isBroken: (set) => isProduction(set) && set.VAULT_ADDR !== undefined && isPlainHttp(set.VAULT_ADDR),
    message: 'must be https in production. Use http for localhost only.',
  },
  {
    setting: 'BCRYPT_COST',
    isBroken: ({ BCRYPT_COST: cost = 12, NODE_ENV }) => cost < 10 && NODE_ENV !== 'test',
    message: 'must be a whole number from 10 to 16, in decimal digits',
  },
  {
    setting: 'FRESH_SECONDS',
    isBroken: ({ FRESH_SECONDS: fresh = 300, NODE_ENV }) => fresh < 60 && NODE_ENV !== 'test',
    message: 'must be a whole number from 60 to 3600, in decimal digits',
  },
  {
    setting: 'SESSION_IDLE_SECONDS',
    isBroken: ({ SESSION_IDLE_SECONDS: idle = 0, SESSION_ABSOLUTE_SECONDS: absolute = Infinity }) =>
      idle > absolute,
    message: 'must not be more than SESSION_ABSOLUTE_SECONDS',
  },
]

/** Returns a line for each broken rule. */
export const brokenRules = (set: Partial<Settings>, env: Environment): string[] =>
  rules.filter((rule) => rule.isBroken(set, env)).map(({ setting, message }) => `${setting}: ${message}`)
