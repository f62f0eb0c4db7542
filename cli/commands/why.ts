// SPDX-License-Identifier: Apache-2.0
// `sidestep why SRC DST[:port]`
import { parsePort } from '../../mesh/net/address.ts'
import { CliError, EXIT_FINDING, EXIT_OK, EXIT_USAGE } from '../exit-codes.ts'
import { type CommandIo, print } from '../output.ts'
import { askPair } from '../why/ask-pair.ts'
import { explainPair } from '../why/explain-pair.ts'
import { verdictText } from '../why/verdict-text.ts'

/** Explains what happens to connections from one to another. Gives the exit code. */
export async function why(io: CommandIo, source: string, destination: string): Promise<number> {
  const facts = await askPair(await io.openFleet(), { source, ...splitPort(destination) })
  const verdict = explainPair(facts)
  print(io, verdict, verdictText)
  return verdict.cause === null ? EXIT_OK : EXIT_FINDING
}

/** `name`, `name:80`, `1.2.3.4:80`, `fd00::7`, `[fd00::7]:80`. @throws CliError for a port that is none */
export function splitPort(text: string): { readonly destination: string; readonly port: number } {
  const [, bracketed, bracketPort] = /^\[([^\]]*)\](?::(.*))?$/.exec(text) ?? []
  const isAddress = bracketed === undefined && text.split(':').length > 2
  const colon = isAddress ? -1 : text.lastIndexOf(':')
  const written = bracketed === undefined ? (colon < 0 ? undefined : text.slice(colon + 1)) : bracketPort
  const destination = bracketed ?? (colon < 0 ? text : text.slice(0, colon))
  if (written === undefined) return { destination, port: 0 }
  const port = parsePort(written)
  if (port === undefined) throw new CliError(EXIT_USAGE, `${written} is no port: 1 to 65535`)
  return { destination, port }
}
