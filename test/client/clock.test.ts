import { expect, test } from '@jest/globals'
import { type Moment, since } from '../../src/client/clock.ts'

const clockAt = (moment: Moment) => ({ now: () => moment, after: () => () => {} })
const hour = 3_600_000

test.each([
  ['both clocks moved', { wall: hour, running: hour }],
  ['the machine slept, and the running clock stopped', { wall: hour, running: 0 }],
  ['the wall clock was set back', { wall: -hour, running: hour }],
])('an hour is an hour when %s', (_what, now) => {
  expect(since(clockAt(now), { wall: 0, running: 0 })).toBe(hour)
})
