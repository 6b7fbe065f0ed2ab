import { fstatSync, writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { codeOf } from './errors.ts'

// What may wait for a reader that is slow, in characters.
const maxPending = 1_048_576

/** Standard output or standard error, written to without ever waiting, throwing or trying without end. */
export interface Output {
  /** Writes a line with its line break, or drops it if it cannot be written. */
  write(line: string): void
  /** The number of lines dropped so far. */
  dropped(): number
  /** Calls `done` when no line is waiting any more: at once, if none is. */
  flush(done: () => void): unknown
}

/**
 * Opens standard output (1) or standard error (2). Decision 016 says why this is not left to the logger.
 * @param onFirstDrop called once, with the reason why a line had to be dropped
 */
export function openOutput(fd: 1 | 2, onFirstDrop: (reason: string) => void = () => {}): Output {
  let dropped = 0
  const drop = (reason: string) => {
    if (++dropped === 1) onFirstDrop(reason)
  }
  if (isFile(fd)) return { write: writesToFile(fd, drop), dropped: () => dropped, flush: (done) => done() }
  const stream = fd === 1 ? process.stdout : process.stderr
  return {
    write: writesToStream(stream, drop),
    dropped: () => dropped,
    flush: (done) => (stream.writableLength === 0 ? done() : stream.write('', () => done())),
  }
}

// A file, or a device such as /dev/null: everything that does not wait for a reader.
const isFile = (fd: number) => !isatty(fd) && !fstatSync(fd).isFIFO() && !fstatSync(fd).isSocket()

// Each line is tried once. A disk that was full gets the later lines again as soon as there is room.
function writesToFile(fd: number, drop: (reason: string) => void) {
  let torn = false
  return (line: string) => {
    let rest = Buffer.from(torn ? `\n${line}` : line)
    try {
      while (rest.length > 0) {
        rest = rest.subarray(writeSync(fd, rest))
        torn = rest.length > 0
      }
    } catch (error) {
      drop(String(codeOf(error)))
    }
  }
}

function writesToStream(stream: NodeJS.WriteStream, drop: (reason: string) => void) {
  // Without a listener, the error of a reader that has ended would end the process.
  stream.on('error', () => {})
  // Node sets pipes and sockets to non-blocking itself, terminals not: one that is stopped (Ctrl-S) would stop the server.
  const { _handle } = stream as { _handle?: { setBlocking?(blocking: boolean): void } }
  if (stream.isTTY) _handle?.setBlocking?.(false)
  return (line: string) => {
    if (stream.writableLength > maxPending) return drop('its reader has stopped reading')
    stream.write(line, (error) => {
      if (error) drop(String(codeOf(error)))
    })
  }
}
