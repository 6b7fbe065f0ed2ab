import { z } from 'zod'
import {
  boolean,
  hostNames,
  integer,
  limit,
  oneOf,
  origins,
  pageUrl,
  publicUrl,
  sender,
  text,
  trustedProxies,
} from './values.ts'

// `npm run docs` makes docs/settings.md and .env.example from these words. Apart from its description, a setting can have
// its default in words (`computed`), a value for .env.example (`example`), and what it accepts, in words (`values`).

const secrets = {
  JWT_ACCESS_SECRET: text.meta({
    description: 'The secret for access tokens, or a reference to it.',
    computed: 'required',
    example: 'replace-me-with-48-random-bytes-in-base64url-for-access-tokens',
  }),
  JWT_REFRESH_SECRET: text.meta({
    description: 'The secret for refresh tokens, or a reference to it.',
    computed: 'required',
    example: 'replace-me-with-48-random-bytes-in-base64url-for-refresh-tokens',
  }),
  JWT_ACCESS_SECRET_PREVIOUS: text.describe(
    'The access secret before the last rotation. It verifies and never signs. Keep it until the last access token it signed has expired.',
  ),
  JWT_REFRESH_SECRET_PREVIOUS: text.describe(
    'The refresh secret before the last rotation. It verifies and never signs. Keep it until the last refresh token it signed has expired.',
  ),
  JWT_ALGORITHM: oneOf(['HS256', 'RS256', 'ES256'])
    .default('HS256')
    .describe(
      'With `RS256` and `ES256`, other services verify access tokens by the public keys at `/.well-known/jwks.json`.',
    ),
  JWT_ACCESS_PRIVATE_KEY: text.meta({
    description:
      'The private key, as PEM (PKCS 8). It replaces `JWT_ACCESS_SECRET`. Make it with `npm run -s secrets -- generate --algorithm ES256`.',
    computed: 'required for RS256 and ES256',
  }),
  JWT_ACCESS_PRIVATE_KEY_PREVIOUS: text.describe(
    'The private key before the last rotation. It verifies and never signs. Keep it until the last access token it signed has expired.',
  ),
  VAULT_ADDR: z
    .url({ protocol: /^https?$/, error: 'must be a URL, https://vault.example.com:8200' })
    .optional()
    .meta({
      description:
        'The URL of the Vault server for `ref+vault://`. Also set `VAULT_TOKEN`, or `VAULT_ROLE_ID` and `VAULT_SECRET_ID`. In production use https, or http on localhost.',
      example: 'https://vault.example.com:8200',
    }),
  VAULT_TOKEN: text.describe('A Vault token. The server renews it, or reads it again from its file.'),
  VAULT_ROLE_ID: text.describe(
    'The role of a login with AppRole. The server logs in again before its token expires.',
  ),
  VAULT_SECRET_ID: text.describe('The secret of the AppRole.'),
  VAULT_NAMESPACE: text.describe('The namespace in Vault.'),
  VAULT_CACERT: text.meta({
    description: 'The file of your own certificate authority, if it signed the certificate of Vault.',
    example: '/etc/ssl/vault.pem',
  }),
  SECRETS_REFRESH_SECONDS: integer(1, 86400)
    .default(60)
    .describe('The interval at which the server reads stores and files again.'),
  SECRETS_MAX_STALE_SECONDS: integer(0, 2592000)
    .default(86400)
    .describe('The maximum age of the last good secrets in an outage of their store. 0: no limit.'),
}

const location = {
  NODE_ENV: oneOf(['production', 'development', 'test'])
    .default('production')
    .describe('The kind of environment. `npm run dev` sets `development`.'),
  HOST: z
    .string()
    .regex(/^[\w.:-]+$/, 'must be an IP address or a host name')
    .default('127.0.0.1')
    .describe('The IP address or host name to listen on. `0.0.0.0` accepts connections from other machines.'),
  PORT: integer(0, 65535).default(3000).describe('The port to listen on. 0: any free port.'),
  PUBLIC_URL: publicUrl.optional().meta({
    description:
      'The origin that browsers use, and `iss` of tokens. https, or http on localhost. In development also http on the local network: `*.localhost`, `*.local`, and loopback, private or link-local addresses.',
    computed: '`http://localhost:` and the port; required in production',
    example: 'https://auth.example.com',
  }),
  CORS_ORIGINS: origins.default([]).meta({
    description:
      'Other origins whose pages may call the server with credentials, comma-separated: ports and subdomains of your site. In production https, or http on localhost.',
    example: 'https://app.example.com',
  }),
  COOKIE_SECURE: boolean.optional().meta({
    description:
      '`true`: cookies are `Secure`, and their names are `__Host-refresh_token` and `__Host-device`. `false`: their names contain the port, `refresh_token_3000` and `device_3000`. In production `false` needs `PUBLIC_URL` on localhost. Safari and other browsers with WebKit need `false` on `http://localhost`, because they drop `Secure` cookies there.',
    computed: '`true` in production and if `PUBLIC_URL` is https, else `false`',
    example: 'true',
  }),
  TRUST_PROXY: trustedProxies.optional().meta({
    description:
      'Proxies in front of the server: their number (1–10), or their IP addresses and CIDR ranges (less than half of all IP addresses). Without it the server ignores `X-Forwarded-For`.',
    example: '1',
  }),
}

const database = {
  DATABASE_URL: text.meta({
    description:
      'The URL of the PostgreSQL database, or a reference to it. Without it the server uses the embedded database. In production set this or `DATA_DIR`. If PostgreSQL runs on another machine, add `?sslmode=verify-full`. If you use your own certificate authority, also add `&sslrootcert=/path/to/ca.pem`.',
    example: 'postgres://user:password@localhost:5432/auth',
  }),
  DATA_DIR: z
    .string()
    .default('.data')
    .describe(
      'The folder of the embedded database. The image sets `/data`. `memory://` keeps the data in memory only.',
    ),
}

const sessions = {
  JWT_AUDIENCE: z.string().regex(/^\S+$/, 'must not be blank or contain white space').optional().meta({
    description: '`aud` of access tokens: the services that they are for.',
    computed: '`PUBLIC_URL`',
    example: 'https://api.example.com',
  }),
  ACCESS_TOKEN_SECONDS: integer(1, 3600).default(900).describe('The lifetime of access tokens.'),
  SESSION_IDLE_SECONDS: integer(1, 31536000)
    .default(604800)
    .describe('The idle timeout of a session. At most `SESSION_ABSOLUTE_SECONDS`.'),
  SESSION_ABSOLUTE_SECONDS: integer(1, 31536000)
    .default(2592000)
    .describe('The absolute timeout of a session, from the login.'),
  SESSIONS_PER_USER: integer(1, 1000)
    .default(20)
    .describe('The maximum number of live sessions per user. One more login ends the oldest session.'),
  REFRESH_GRACE_SECONDS: integer(0, 60)
    .default(10)
    .describe(
      'The grace window after a rotation, in seconds. In this window, the previous refresh token gets the current one again. 0: none.',
    ),
  FRESH_SECONDS: integer(1, 3600).default(300).meta({
    description: 'The maximum age of a proof of identity, such as a login, for a sensitive action.',
    values: '60–3600; in test from 1',
  }),
}

const passwords = {
  REGISTRATION: oneOf(['open', 'verified', 'closed'])
    .default('open')
    .describe(
      '`open`: registering logs in at once. `verified`: an account exists only after its address is confirmed, which needs mail. `closed`: 403.',
    ),
  BCRYPT_COST: integer(4, 16).default(12).meta({
    description: 'The bcrypt cost. Each increment doubles the work for a hash.',
    values: '10–16; in test from 4',
  }),
  PASSWORD_MIN_LENGTH: integer(8, 64).default(15).describe('The minimum number of characters in a password.'),
}

const mail = {
  SMTP_URL: text.meta({
    description:
      'The server that takes the mails, or a reference to this URL. `smtps://` begins with TLS. `smtp://` requires STARTTLS, except to `localhost`, `127.0.0.0/8` and `::1`. The server reads references again like secrets. Without it, mails go to a mailbox in development and test, and there is no mail in production.',
    example: 'smtps://user:password@smtp.example.com:465',
  }),
  MAIL_FROM: sender.optional().meta({
    description:
      'The sender of mails, `auth@example.com` or `Name <auth@example.com>`. Bounces go there too.',
    computed: 'required with `SMTP_URL`',
    example: 'Example <auth@example.com>',
  }),
  ACCOUNT_URL: pageUrl.optional().meta({
    description:
      'The page that links in mails open. Its origin is `PUBLIC_URL` or one of `CORS_ORIGINS`. While this is the default, the server serves the page.',
    computed: '`PUBLIC_URL` and `/account`',
    example: 'https://app.example.com/account',
  }),
  LIMIT_MAIL_RECIPIENT: limit
    .prefault('3/3600')
    .describe(
      'Mails of a kind to a recipient that strangers can cause. More are not sent, and the answer is the same.',
    ),
  LIMIT_MAIL_ADDRESS: limit
    .prefault('20/3600')
    .describe('Requests from an address that may send mail, all of them. IPv6 as in `LIMIT_LOGIN_ADDRESS`.'),
}

const guessing = {
  LIMIT_LOGIN_ACCOUNT: limit
    .prefault('10/900')
    .describe(
      'Wrong guesses of the password of an account. A wrong password counts at login, password change and reauthentication.',
    ),
  LIMIT_LOGIN_ADDRESS: limit
    .prefault('100/900')
    .describe(
      'Wrong guesses from an IP address (IPv6: a /64; 4 times as many for a /56, 16 times for a /48). An IP address may also make at most 10 × N logins (1,000 by default), right or wrong, in S seconds.',
    ),
  LIMIT_REGISTER_ADDRESS: limit
    .prefault('20/3600')
    .describe('Attempts to register from an IP address, successful or not.'),
}

const operation = {
  AUDIT_DAYS: integer(1, 3650)
    .default(90)
    .describe('The number of days that the table `audit_events` keeps its events.'),
  METRICS_PORT: integer(0, 65535).optional().meta({
    description:
      'A port on `HOST` for operators. Clients must not reach it. It serves metrics for Prometheus at `GET /metrics`, and the state of the keys at `GET /keys`.',
    example: '9100',
  }),
  METRICS_HOSTS: hostNames.default([]).meta({
    description:
      'Host names that requests to `METRICS_PORT` may use, comma-separated. IP addresses and `localhost` always work. Requests with other host names get 421.',
    example: 'auth-metrics',
  }),
  HSTS_INCLUDE_SUBDOMAINS: boolean
    .default(false)
    .describe(
      'Adds `includeSubDomains` to the HSTS header. Set `true` only if every subdomain of the host of `PUBLIC_URL` serves https.',
    ),
  LOG_LEVEL: oneOf(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('The least severe log lines to write.'),
}

/** The settings in groups, for these pages. */
export const groups = [
  {
    title: 'Secrets',
    about:
      'Use a different secret for each purpose and environment, 32 random bytes or more: `npm run -s secrets -- generate`. A variable can hold a reference to the secret instead: `ref+file:///run/secrets/jwt_access`, `ref+vault://MOUNT/PATH#/FIELD`, `ref+awssecrets://NAME#/KEY`, `ref+awsssm://PATH`, `ref+gcpsecrets://PROJECT/SECRET` or `ref+azurekeyvault://VAULT/SECRET` (docs/secrets.md). `NAME_FILE=/PATH` is short for `NAME=ref+file:///PATH`. It works for these secrets, private keys, `VAULT_TOKEN`, `VAULT_SECRET_ID`, `DATABASE_URL` and `SMTP_URL`. If a secret is in a file, the server also reads the previous secret from the file of the same name plus `.previous`. In `.env`, quote a value that contains a #. Otherwise a comment begins there.',
    shape: secrets,
  },
  { title: 'Where it runs', shape: location },
  { title: 'Database', shape: database },
  { title: 'Tokens and sessions', shape: sessions },
  { title: 'Registration and passwords', shape: passwords },
  { title: 'Mail', shape: mail },
  {
    title: 'Guessing',
    about: 'N/S allows N attempts in S seconds. `off` removes the limit.',
    shape: guessing,
  },
  { title: 'Operation', shape: operation },
]

/** The settings, by the names of their environment variables. */
export const settings = z.object({
  ...secrets,
  ...location,
  ...database,
  ...sessions,
  ...passwords,
  ...mail,
  ...guessing,
  ...operation,
})

export type Settings = z.output<typeof settings>

/** What a feature declares: its own settings, by the names of their variables. Use the kinds of values in `values.ts`. */
export interface FeatureSettings {
  readonly name: string
  readonly settings?: z.ZodRawShape
}

/** The parsed settings of features, by the names of the features. */
export type SettingsOfFeatures<Features extends readonly FeatureSettings[]> = {
  [Feature in Features[number] as Feature['name']]: Feature extends {
    settings: infer Shape extends z.ZodRawShape
  }
    ? z.output<z.ZodObject<Shape>>
    : Readonly<Record<string, unknown>>
}
