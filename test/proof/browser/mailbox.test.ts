// The page at `/demo/mailbox`.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from '@jest/globals'
import { mailboxPage, mailboxPolicy } from '../../../src/features/mailbox/page.ts'
import { layout } from '../../../src/mail/template.ts'
import { eventually, inBrowser, useStage } from './browser.ts'

inBrowser('/demo/mailbox', () => {
  const stage = useStage({})

  test('shows mails with their styles, runs nothing in them, and its links open in the page', async () => {
    const server = createServer((_req, res) => {
      const url = `http://localhost:${port}/account#reset=token`
      const { subject, text, html } = layout({
        subject: 'Reset <your> password',
        heading: 'Reset your password',
        paragraphs: ['Somebody asked for it.'],
        action: { label: 'Choose a new password', url },
        footer: 'Ignore this mail if it was not you.',
      })
      const mail = { at: '2026-01-02T03:04:05.678Z', to: 'ada@example.com', subject, text }
      const evil = html.replace('<body', '<body onload="parent.document.title = 1; document.title = 1"')
      res.setHeader('Content-Type', 'text/html').setHeader('Content-Security-Policy', mailboxPolicy)
      res.end(mailboxPage([{ ...mail, html: evil }]))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const page = await stage.context.newPage()

    await page.goto(`http://localhost:${port}/demo/mailbox`)
    const mail = page.frameLocator('iframe')
    const button = mail.getByText('Choose a new password')
    await button.waitFor()
    expect(await button.evaluate((element) => getComputedStyle(element).backgroundColor)).toBe(
      'rgb(31, 79, 216)',
    )
    expect(await page.title()).toBe('Mails of the auth server')
    await button.click()
    await eventually(async () => page.url() === `http://localhost:${port}/account#reset=token`)
    await page.close()
    server.close()
  })

  test('is served by a server with the demo, to this machine', async () => {
    const page = await stage.context.newPage()

    await page.goto(`${stage.server.url}/demo/mailbox`)
    await page.getByText('No mail yet.').waitFor()
    await page.close()
  })
})
