#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// `npm run demo`: two nodes, four pods, real traffic inside mTLS tunnels, one call refused and explained.
// Exit code 0 = everything as promised (or ended by Ctrl-C), 1 = not, 2 = wrong arguments.
import { randomInt } from 'node:crypto'
import { Command, Option } from 'commander'
import { runChecks } from './checks.ts'
import { DemoCluster } from './cluster.ts'
import { endWithParent } from './end-with-parent.ts'
import { runLive } from './live.ts'
import { chooseMode, type ModeChoice, probeNetwork, probeUserNamespace } from './mode.ts'
import { type DemoOutput, JsonOutput, TextOutput } from './output.ts'
import { planDemo } from './plan.ts'
import { runUnder } from './restart.ts'

interface Flags {
  readonly once?: boolean
  readonly json?: boolean
  readonly mode?: 'auto' | 'loopback' | 'probe'
  readonly inUserNamespace?: boolean
}

/** `--once` promises an answer within 60 s. */
const ONCE_TIMEOUT_MS = 45_000

const command = new Command('demo')
  .description('Two nodes, their pods and the mesh between them, on this machine.')
  .option('--once', 'run the checks once and exit with 0 or 1')
  .option('--json', 'print JSON: one document with --once, else one object per line')
  .addOption(new Option('--mode <mode>').choices(['auto', 'loopback', 'probe']).default('auto').hideHelp())
  .addOption(new Option('--in-user-namespace').hideHelp())
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
const flags = command.parse().opts<Flags>()
const self = [process.execPath, '--no-warnings', import.meta.filename]

async function run(choice: ModeChoice, output: DemoOutput, stop: AbortSignal): Promise<boolean> {
  const startedMs = performance.now()
  const plan = planDemo(choice.mode, `${randomInt(64, 255)}.${randomInt(1, 255)}`)
  output.start(choice, plan)
  const signal = flags.once ? AbortSignal.any([stop, AbortSignal.timeout(ONCE_TIMEOUT_MS)]) : stop
  let cluster: DemoCluster | null = null
  try {
    cluster = await DemoCluster.start(plan, signal)
    if (!flags.once) {
      await runLive(cluster, output, signal)
      return true
    }
    const report = await runChecks(cluster, (check) => output.check(check), signal)
    output.finish(choice, report, cluster.records, (performance.now() - startedMs) / 1000)
    return report.checks.every(({ ok }) => ok)
  } catch (error) {
    if (stop.aborted) return !flags.once
    output.failure(choice, error instanceof Error ? error.message : String(error))
    return false
  } finally {
    await cluster?.close()
  }
}

if (flags.mode === 'probe') {
  const reason = probeNetwork()
  process.stdout.write(reason)
  process.exit(reason === '' ? 0 : 1)
}
const choice = chooseMode({
  isLoopbackForced: flags.mode === 'loopback',
  isInUserNamespace: flags.inUserNamespace === true,
  isRoot: process.geteuid?.() === 0,
  probeNetwork,
  probeUserNamespace: () => probeUserNamespace([...self, '--mode', 'probe']),
})
const stop = new AbortController()
if (choice.restartUnder !== null) {
  const again = [process.execPath, ...endWithParent(), ...self.slice(1)]
  const args = [...choice.restartUnder, ...again, ...process.argv.slice(2), '--in-user-namespace']
  process.exit(await runUnder('unshare', args))
}
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stop.abort())
// Whoever read us has gone (`npm run demo | head`): end in order.
process.stdout.on('error', () => stop.abort())
const write = (text: string): void => void process.stdout.write(text)
const isColoured = process.stdout.isTTY && process.stdout.hasColors()
const output = flags.json ? new JsonOutput(write, !flags.once) : new TextOutput(write, isColoured)
const isGood = await run(choice, output, stop.signal)
process.exitCode = isGood ? 0 : 1
