import { isatty } from 'node:tty'
import type { MessageFormatFunc } from 'pino-pretty'
import type { Output } from './output.ts'

/**
 * Returns an output that writes log lines for people instead of JSON. Returns `output` itself if pino-pretty is not
 * installed, because it is a dependency of development only.
 */
export async function forPeople(output: Output): Promise<Output> {
  const pretty = await import('pino-pretty').catch(() => undefined)
  if (!pretty) return output
  const prettify = pretty.prettyFactory({
    colorize: isatty(1),
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'pid,hostname,event,secret,kid,source,signal,req,res,responseTime,code',
    singleLine: true,
    messageFormat,
  })
  return { ...output, write: (line) => output.write(prettify(line)) }
}

const messageFormat: MessageFormatFunc = (line, messageKey) => {
  const { req, res, code, responseTime } = line as Partial<RequestLine>
  if (!req || !res) return String(line[messageKey])
  // A terminal obeys control characters, even those that a client sent.
  const path = req.path.replace(/[^!-~]/g, '?')
  const aborted = line[messageKey] === 'request aborted' && 'aborted by the client'
  return [req.method, path, res.statusCode, code, aborted, `${responseTime} ms`].filter(Boolean).join(' ')
}

interface RequestLine {
  req: { method: string; path: string }
  res: { statusCode: number }
  code: string
  responseTime: number
}

/** Returns the URLs of the pages of a server, for people. */
export const banner = (url: string, pages: { title: string; path: string }[]): string =>
  `\n${pages.map(({ title, path }) => `  ${title.padEnd(16)}${url}${path}\n`).join('')}\n`
