// Runs in worker threads. Plain JavaScript, because threads load it without the help of a compiler.
import bcrypt from 'bcrypt'

/** @param {{ prepared: string, cost: number }} task */
export function hash({ prepared, cost }) {
  return bcrypt.hashSync(prepared, cost)
}

/**
 * Does the work of `cost` whatever cost the hash has, so that time does not tell older accounts apart:
 * 2^c + (2^c + 2^(c+1) + … + 2^(cost-1)) = 2^cost.
 * @param {{ prepared: string, hash: string, cost: number }} task
 */
export function verify({ prepared, hash, cost }) {
  const match = bcrypt.compareSync(prepared, hash)
  for (let spent = bcrypt.getRounds(hash); spent < cost; spent++) bcrypt.hashSync(prepared, spent)
  return match
}
