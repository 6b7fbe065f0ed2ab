// Runs in worker threads. Plain JavaScript, because threads load it without the help of a compiler.
import { createHmac } from 'node:crypto'
import bcrypt from 'bcrypt'

/**
 * As in password-judge.js, which takes a tenth of a second to load: only threads that judge load it.
 * @param {{ password: string, minLength: number, context: string[] }} task
 */
export async function isPredictable(task) {
  const judge = await import('./password-judge.js')
  return judge.isPredictable(task)
}

/** @param {{ password: string, cost: number }} task */
export function hash({ password, cost }) {
  return bcrypt.hashSync(prepare(password), cost)
}

/**
 * Does the work of `cost` whatever cost the hash has, so that time does not tell older accounts apart:
 * 2^c + (2^c + 2^(c+1) + … + 2^(cost-1)) = 2^cost.
 * @param {{ password: string, hash: string, cost: number }} task
 */
export function verify({ password, hash, cost }) {
  const prepared = prepare(password)
  const match = bcrypt.compareSync(prepared, hash)
  for (let spent = bcrypt.getRounds(hash); spent < cost; spent++) bcrypt.hashSync(prepared, spent)
  return match
}

/**
 * Scheme 1. bcrypt reads 72 bytes and stops at a NUL, so it gets a digest of fixed length in base64. The key is no
 * secret: it keeps digests of this server apart from those that other sites leaked.
 * @param {string} password
 */
function prepare(password) {
  return createHmac('sha384', 'express-auth-server password 1')
    .update(password.normalize('NFC'))
    .digest('base64')
}
