// SPDX-License-Identifier: Apache-2.0
// `sidestep`: the commands, their options, and how they end. Each command is in commands/; what it answers goes to stdout,
// talk goes to stderr, exit codes are in exit-codes.ts.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Command, Option } from 'commander'
import { systemClock } from '../mesh/runtime/clock.ts'
import { type CaptureFlags, capture } from './commands/capture.ts'
import { drainStatus } from './commands/drain-status.ts'
import { dump } from './commands/dump.ts'
import { ps } from './commands/ps.ts'
import { certs, conns, edges, logLevel, version } from './commands/tables.ts'
import { type TapAsked, tap } from './commands/tap.ts'
import { why } from './commands/why.ts'
import { CliError, EXIT_OK, EXIT_USAGE } from './exit-codes.ts'
import { openFleet } from './fleet/open-fleet.ts'
import type { CommandIo, CommonFlags } from './output.ts'
import { printable } from './printable.ts'

const PACKAGE = new URL('../package.json', import.meta.url)
const { version: ownVersion } = JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string } // as: our own file

const EXIT_CODES = `
Exit codes: 0 all is well; 1 answered, and something is not well (a pair that is refused or fails, a certificate in
trouble); 2 the command was not understood; 3 nobody answered.`

let exitCode: number = EXIT_OK
// Who reads has seen enough: `sidestep tap | head`.
process.stdout.on('error', () => process.exit(exitCode))
const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value]

const program = new Command('sidestep')
  .description('Looks into a mesh: what every node does, and why a connection gets through or not.')
  .option(
    '-n, --node <address>',
    'admin socket of a ztunnel, or host:port forwarded to one; repeatable',
    collect,
    [],
  )
  .option('--demo', 'the nodes of the demo that runs here')
  .option('--dump <path>', 'a file of `sidestep dump`, or a directory of such files')
  .option('--kubeconfig <file>', 'the cluster of this file; without any of these options: of the usual ones')
  .option('--context <name>', 'a context of the kubeconfig')
  .addOption(
    new Option('-o, --output <format>', 'form of the result').choices(['table', 'json']).default('table'),
  )
  .addHelpText('after', EXIT_CODES)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? EXIT_OK : EXIT_USAGE))

/** Runs a command with the options of all. */
function run(command: (io: CommandIo) => Promise<number>): Promise<void> {
  const flags = program.opts<CommonFlags>()
  const io: CommandIo = {
    write: (text) => void process.stdout.write(text),
    drained: async () => {
      if (process.stdout.writableNeedDrain) await once(process.stdout, 'drain')
    },
    untilInterrupted: () => {
      const controller = new AbortController()
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => controller.abort())
      return controller.signal
    },
    warn: (text) => void process.stderr.write(text),
    format: flags.output,
    openFleet: () => openFleet(flags),
    nowMs: () => systemClock.nowMs,
  }
  return command(io).then(
    (code) => {
      exitCode = code
    },
    (error: unknown) => {
      if (!(error instanceof CliError)) throw error
      io.warn(`${error.message.split('\n').map(printable).join('\n')}\n`)
      exitCode = error.exitCode
    },
  )
}

program
  .command('why')
  .description('why a pod reaches a destination or not: which way, which policy, what would have to change')
  .argument('<source>', 'pod: namespace/name, a name, or an address')
  .argument('<destination>', 'host name, namespace/name of a service or pod, or address; then :port')
  .action((source: string, destination: string) => run((io) => why(io, source, destination)))
program
  .command('ps')
  .description(
    'the pods of the mesh, or all about one: identity, certificate, policies, connections, last failures',
  )
  .argument('[pod]', 'namespace/name, or a name')
  .action((pod: string | undefined) => run((io) => ps(io, pod)))
program
  .command('conns')
  .description('live connections')
  .action(() => run(conns))
program
  .command('tap')
  .description(
    'connections as they open, close and are refused, and requests of waypoints, until Ctrl-C; of all pods, or of one',
  )
  .argument('[pod]', 'namespace/name, or a name')
  .option('--peer <name>', 'only with this other end: a pod, an address or an identity')
  .option('--reason <code>', 'only what ended with this reason code')
  .option('--path <prefix>', 'of a waypoint: only requests whose path begins so')
  .option('--status <status>', 'of a waypoint: only requests answered so: 404, 5xx')
  .option('--source <caller>', 'of a waypoint: only requests of an identity, address, namespace or account')
  .action((pod: string | undefined, { peer, reason, path, status, source }: Partial<TapAsked>) =>
    run((io) => tap(io, { pod, peer, reason, path, status, source })),
  )
program
  .command('capture')
  .description(
    'the decrypted payload of a pod, as a file for Wireshark; the node must allow it (SIDESTEP_CAPTURE)',
  )
  .argument('<pod>', 'namespace/name, or a name')
  .requiredOption('--out <file>', 'file to write; it must not exist')
  .option('--seconds <number>', 'longest time', '60')
  .option('--bytes <number>', 'largest file', '104857600')
  .action((pod: string, flags: CaptureFlags) => run((io) => capture(io, pod, flags)))
program
  .command('certs')
  .description('certificates: what is stored, what the sockets present, what tunnels were made with')
  .action(() => run(certs))
program
  .command('edges')
  .description('who talks to whom, as each node counts it')
  .action(() => run(edges))
program
  .command('drain')
  .description('nodes that let their connections end')
  .command('status')
  .description('which nodes drain, and what holds them')
  .action(() => run(drainStatus))
program
  .command('log-level')
  .description('the log level of every node; with a level: sets it')
  .argument('[level]')
  .action((level: string | undefined) => run((io) => logLevel(io, level)))
program
  .command('dump')
  .description(
    'writes down everything every node has, without secrets, as one JSON document: read it with --dump',
  )
  .action(() => run(dump))
program
  .command('version')
  .description('versions of this command and of every node')
  .action(() => run((io) => version(io, ownVersion)))

await program.parseAsync()
process.exitCode = exitCode
