import { randomBytes } from 'node:crypto'

export const publicUrl = 'http://localhost:3000'
/** The names of the cookies under `publicUrl`. They contain its port. */
export const [refreshCookieName, deviceCookieName] = ['refresh_token_3000', 'device_3000'] as const
export const accessSecret = randomBytes(48).toString('base64url')
export const refreshSecret = randomBytes(48).toString('base64url')

/** The settings of test apps. Hashing is as cheap as possible. */
export const testEnvironment = {
  NODE_ENV: 'test',
  PUBLIC_URL: publicUrl,
  BCRYPT_COST: '4',
  JWT_ACCESS_SECRET: accessSecret,
  JWT_REFRESH_SECRET: refreshSecret,
  DATA_DIR: 'memory://',
  LIMIT_LOGIN_ACCOUNT: 'off',
  LIMIT_LOGIN_ADDRESS: 'off',
  LIMIT_REGISTER_ADDRESS: 'off',
  LIMIT_MAIL_ADDRESS: 'off',
  LIMIT_MAIL_RECIPIENT: 'off',
}
