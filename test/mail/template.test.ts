import { expect, test } from '@jest/globals'
import { layout, timeForPeople } from '../../src/mail/template.ts'

const content = {
  subject: 'Confirm your address',
  heading: 'Confirm <your> address',
  paragraphs: ['Somebody asked for "this" & that.', 'The link works for 24 hours.'],
  footer: "If it wasn't you, ignore this mail.",
}
const url = 'https://auth.example.com/account#verify=a.b-c_d'

test('both parts of a mail say the same, in the same order', () => {
  const { subject, text, html } = layout({ ...content, action: { label: 'Confirm', url } })

  expect(subject).toBe('Confirm your address')
  expect(text).toBe(
    `Confirm <your> address\n\nSomebody asked for "this" & that.\n\nThe link works for 24 hours.\n\nConfirm:\n${url}\n\nIf it wasn't you, ignore this mail.\n`,
  )
  const order = [
    'Confirm &lt;your&gt; address',
    '&quot;this&quot; &amp; that',
    '24 hours',
    url,
    'wasn&#39;t you',
  ]
  const places = order.map((part) => html.indexOf(part))
  expect(places).toEqual([...places].sort((a, b) => a - b))
  expect(places[0]).toBeGreaterThan(0)
})

test('the HTML part contains no tag and no attribute of what it shows', () => {
  const evil = '"><img src=//evil.example><script>alert(1)</script>'

  const { html } = layout({
    subject: evil,
    heading: evil,
    paragraphs: [evil],
    action: { label: evil, url: `https://auth.example.com/account#${evil}` },
    footer: evil,
  })

  expect(html).not.toMatch(/<img|<script/)
  expect(html.match(/<a /g)).toHaveLength(1)
})

test('the HTML part loads nothing', () => {
  const { html } = layout({ ...content, action: { label: 'Confirm', url } })

  expect(html).not.toMatch(/\bsrc=|<link|<style|@import|url\(/)
  expect(html.match(/https?:/g)).toHaveLength(2)
})

test('a mail without a link has no empty place for one', () => {
  const { text, html } = layout(content)

  expect(text).not.toMatch(/\n\n\n/)
  expect(html).not.toMatch(/<a |button/)
})

test('times are in UTC, to the minute', () => {
  expect(timeForPeople(new Date('2026-01-02T03:04:59.999Z'))).toBe('2026-01-02 03:04 UTC')
})
