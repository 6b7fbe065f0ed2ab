import { fstatSync, writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { codeOf } from './errors.ts'

// How many characters may wait for a slow reader.
const maxPending = 1_048_576

/** Standard output or standard error. Writing never waits, never throws, and never retries forever. */
export interface Output {
  /** Writes a line, which ends with its line break. Drops it if it cannot be written. */
  write(line: string): void
  /** Returns the number of lines dropped so far. */
  dropped(): number
  /** Calls `done` as soon as no line is waiting. */
  flush(done: () => void): unknown
}

/**
 * Opens standard output (1) or standard error (2). Decision 016 says why the logger does not do this.
 * @param onFirstDrop called once, with the reason, when the first line is dropped
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

// Returns whether an output is a file or a device such as /dev/null. These never wait for a reader.
const isFile = (fd: number) => !isatty(fd) && !fstatSync(fd).isFIFO() && !fstatSync(fd).isSocket()

// Tries each line once. A full disk gets later lines as soon as it has room again.
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
  // Otherwise the process crashes when its log reader exits.
  stream.on('error', () => {})
  // Node makes pipes and sockets non-blocking, but not terminals. A stopped one (Ctrl-S) would stop the server.
  const { _handle } = stream as { _handle?: { setBlocking?(blocking: boolean): void } }
  if (stream.isTTY) _handle?.setBlocking?.(false)
  return (line: string) => {
    if (stream.writableLength > maxPending) return drop('its reader stopped reading')
    stream.write(line, (error) => {
      if (error) drop(String(codeOf(error)))
    })
  }
}
