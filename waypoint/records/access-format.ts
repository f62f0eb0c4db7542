// SPDX-License-Identifier: Apache-2.0
// A format of access logs: text with commands, `%COMMAND(ARGUMENTS):LENGTH%`. Read once; a line is made by concatenation. What
// peers wrote is escaped: neither a quote nor the end of a line can be theirs. SPEC ENVOY access log, format strings. Pure.
import { lineText } from '../../mesh/telemetry/record-text.ts'
import { type Operator, operatorMaker } from './access-operators.ts'
import type { LoggedRequest, LoggedSource } from './logged-request.ts'
import { MAX_FIELD_CHARS } from './request-record.ts'

/** Istio's, with the code of the reason where Envoy has its details. */
export const DEFAULT_ACCESS_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
  '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% ' +
  '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ' +
  '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% ' +
  '%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%'

/** Characters of a format: a line has to fit into the records’ ring. */
export const MAX_FORMAT_CHARS = 4096

interface Command {
  readonly operator: Operator
  readonly maxChars: number
}

const COMMAND = /^([A-Z][A-Z0-9_]*)(?:\(([^()]*)\))?(?::([1-9][0-9]{0,4}))?$/

/** A format that can be written. */
export class AccessFormat {
  /** Texts and commands in turn: a text first, a text last. */
  readonly #texts: readonly string[]
  readonly #commands: readonly Command[]

  private constructor(texts: readonly string[], commands: readonly Command[]) {
    this.#texts = texts
    this.#commands = commands
  }

  /** Reads a format; a text: what is wrong with it. */
  static parse(format: string): AccessFormat | string {
    if (format.length > MAX_FORMAT_CHARS) return `is longer than ${MAX_FORMAT_CHARS} characters`
    const trimmed = format.replace(/\n$/, '')
    if (/(?!\t)\p{Cc}/u.test(trimmed)) return 'has control characters'
    const texts: string[] = []
    const commands: Command[] = []
    let text = ''
    let at = 0
    while (at < trimmed.length) {
      const start = trimmed.indexOf('%', at)
      if (start < 0) break
      text += trimmed.slice(at, start)
      const end = commandEnd(trimmed, start + 1)
      if (end < 0) return `has no end of the command ${trimmed.slice(start, start + 40)}`
      at = end + 1
      if (end === start + 1) {
        text += '%'
        continue
      }
      const command = readCommand(trimmed.slice(start + 1, end))
      if (typeof command === 'string') return command
      texts.push(text)
      text = ''
      commands.push(command)
    }
    texts.push(text + trimmed.slice(at))
    return new AccessFormat(texts, commands)
  }

  /** The line of a request, without its newline. */
  line(source: LoggedSource, request: LoggedRequest): string {
    let line = this.#texts[0] ?? ''
    for (let i = 0; i < this.#commands.length; i++) {
      const command = this.#commands[i]
      if (command === undefined) break
      const value = command.operator(request, source)
      line += value === '' ? '-' : lineText(value, command.maxChars)
      line += this.#texts[i + 1]
    }
    return line
  }
}

/** As the options have it; they were read before. */
export function openFormat(accessLog: string, format: string): AccessFormat | 'json' | 'off' {
  if (accessLog === 'json' || accessLog === 'off') return accessLog
  const parsed = AccessFormat.parse(format === '' ? DEFAULT_ACCESS_FORMAT : format)
  if (typeof parsed === 'string') throw new Error(`accessLogFormat ${parsed}`)
  return parsed
}

/** Index of the `%` that ends a command; those in brackets are of its arguments. -1: there is none. */
function commandEnd(format: string, from: number): number {
  const end = format.indexOf('%', from)
  const open = format.indexOf('(', from)
  if (open < 0 || end < open) return end
  const close = format.indexOf(')', open)
  return close < 0 ? -1 : format.indexOf('%', close)
}

function readCommand(text: string): Command | string {
  const [, name, args, length] = COMMAND.exec(text) ?? []
  if (name === undefined) return `has %${text}%, which is no command`
  const maker = operatorMaker(name)
  if (maker === undefined) return `has %${name}%, which is not known here`
  const operator = maker(args ?? null)
  if (typeof operator !== 'function') return `has %${name}%, which ${operator.mistake}`
  const maxChars = Math.min(length === undefined ? MAX_FIELD_CHARS : Number(length), MAX_FIELD_CHARS)
  return { operator, maxChars }
}
