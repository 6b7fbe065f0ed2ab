import { expect, test } from '@jest/globals'
import { templatesOf } from '../src/features/feature.ts'

const hello = () => ({ subject: 'Hello', heading: 'Hello', paragraphs: [], footer: '' })

test('the mails of features have names of their own', () => {
  const [one, two] = [
    { name: 'one', mails: { hello } },
    { name: 'two', mails: { constructor: hello } },
  ]

  expect(Object.keys(templatesOf([one, two]))).toEqual(['hello', 'constructor'])
  expect(() => templatesOf([one, { name: 'three', mails: { hello } }])).toThrow(
    'The feature three declares the mail hello, which exists already. Choose another name.',
  )
})
