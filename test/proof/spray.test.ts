import { expect, test } from '@jest/globals'
import { newEmail, tryLogin, useTestApp } from '../support/app.ts'

const t = useTestApp({ LIMIT_LOGIN_ADDRESS: '5/900', TRUST_PROXY: '1' })
const guessFrom = async (address: string) =>
  (await tryLogin(t.app, newEmail(), 'one password for everybody').set('X-Forwarded-For', address)).status

test('one password that is tried on 1,000 accounts reaches the limit of the address; other addresses are not affected [D3]', async () => {
  const answers: number[] = []
  while (answers.length < 1000)
    answers.push(...(await Promise.all(Array.from({ length: 5 }, () => guessFrom('198.51.100.9')))))

  // The first five are judged. The limit of an address does not depend on which accounts it tries.
  expect(answers.filter((status) => status === 401)).toHaveLength(5)
  expect(answers.filter((status) => status === 429)).toHaveLength(995)
  expect(await guessFrom('198.51.100.10')).toBe(401)
})
