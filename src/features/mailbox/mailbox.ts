import type { Request } from 'express'
import ipaddr from 'ipaddr.js'
import { z } from 'zod'
import { AuthError } from '../../errors.ts'
import { time } from '../../http/grant.ts'
import { route } from '../../http/route.ts'
import type { OutgoingMail } from '../../mail/outgoing.ts'
import { type Core, feature } from '../feature.ts'
import { mailboxPage, mailboxPolicy } from './page.ts'

const mailList = z.object({
  mails: z.array(
    z.object({ at: time, to: z.string(), subject: z.string(), text: z.string(), html: z.string() }),
  ),
})

/**
 * The mails contain links that open accounts. So only programs on this machine may read them, by a name of this server. By
 * DNS rebinding, a page of another site can point its own name at this machine, and read the answers.
 */
function mayRead({ address, headers }: Request, publicUrl: string): boolean {
  const isLoopback = address !== undefined && ipaddr.parse(address).range() === 'loopback'
  const url = `http://${headers.host}`
  const name = URL.canParse(url) ? new URL(url).hostname : ''
  const isOwnName = /^(.+\.)?localhost$|^\[.*\]$|^[\d.]+$/.test(name) || name === new URL(publicUrl).hostname
  return isLoopback && isOwnName
}

const shownMail = ({ at, to, subject, text, html }: OutgoingMail) => ({
  at: at.toISOString(),
  to,
  subject,
  text,
  html,
})

const readMailbox = route({
  method: 'get',
  path: '/demo/mailbox',
  checks: [],
  name: 'mailbox',
  group: 'Demo',
  summary: 'Read the mails that this server would have sent',
  hidden: true,
  answers: {
    200: {
      description: 'A page for browsers; with `Accept: application/json` the mails, newest first.',
      types: ['text/html', 'application/json'],
      body: z.union([z.string(), mailList]),
    },
  },
  problems: ['not_found'],

  handler: (core: Core) => (req, res) => {
    if (!mayRead(req, core.publicUrl)) throw new AuthError('not_found')
    const mails = core.mailbox.mails().map(shownMail)
    res.set('Cache-Control', 'no-store').vary('Accept')
    if (req.accepts(['html', 'json']) === 'json') return res.json({ mails })
    return res.set('Content-Security-Policy', mailboxPolicy).type('html').send(mailboxPage(mails))
  },
})

/** The mails of development and test, which have no SMTP server. */
export const mailbox = feature({
  name: 'mailbox',
  settings: {},
  routes: [readMailbox],
  page: { title: 'Mails', path: '/demo/mailbox' },
  isOn: (_own, { mail, development, features }) =>
    mail.on && !mail.smtp && ((features.demo?.DEMO as boolean | undefined) ?? development),
  create: () => ({}),
})
