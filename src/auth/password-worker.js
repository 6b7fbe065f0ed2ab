// Runs in worker threads. Plain JavaScript, because threads load it without the help of a compiler.
import { createHmac } from 'node:crypto'
import bcrypt from 'bcrypt'

/**
 * See password-judge.js. It takes a tenth of a second to load, so only threads that judge passwords load it.
 * @param {{ password: string, minLength: number, context: string[] }} task
 */
export async function isPredictable(task) {
  const judge = await import('./password-judge.js')
  return judge.isPredictable(task)
}

/** @typedef {Pick<typeof bcrypt, 'hashSync' | 'compareSync'>} Hasher */

/**
 * @param {{ password: string, cost: number }} task
 * @param {Hasher} hasher
 */
export function hash({ password, cost }, hasher = bcrypt) {
  return hasher.hashSync(prepare(password), cost)
}

/**
 * Verifies with the work of `cost`, also if the hash has a lower cost c. So the time does not reveal older accounts:
 * 2^c + (2^c + 2^(c+1) + … + 2^(cost-1)) = 2^cost.
 * @param {{ password: string, hash: string, cost: number }} task
 * @param {Hasher} hasher
 */
export function verify({ password, hash, cost }, hasher = bcrypt) {
  const prepared = prepare(password)
  const match = hasher.compareSync(prepared, hash)
  for (let spent = bcrypt.getRounds(hash); spent < cost; spent++) hasher.hashSync(prepared, spent)
  return match
}

/**
 * Scheme 1. bcrypt reads 72 bytes and stops at NUL, so it gets a base64 digest of fixed length. The key is not a
 * secret. It makes the digests of this server different from those that leaked elsewhere.
 * @param {string} password
 */
function prepare(password) {
  return createHmac('sha384', 'express-auth-server password 1')
    .update(password.normalize('NFC'))
    .digest('base64')
}
