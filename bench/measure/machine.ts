// SPDX-License-Identifier: Apache-2.0
// What the figures were measured on and of: nothing that names the machine or its paths.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Machine } from '../results.ts'

const run = promisify(execFile)

/** This machine. */
export function describeMachine(): Machine {
  const all = cpus()
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  }
}

const IDLE_SAMPLE_MS = 1000
/** user nice system idle iowait irq softirq steal, in ticks: what /proc/stat says of all processors. */
export function parseProcessorTicks(stat: string): { readonly busy: number; readonly total: number } {
  const ticks = /^cpu +(.*)$/m.exec(stat)?.[1]?.split(' ').slice(0, 8).map(Number) ?? []
  const total = ticks.reduce((sum, value) => sum + value, 0)
  return { busy: total - (ticks[3] ?? 0) - (ticks[4] ?? 0), total }
}

/** How much of all processors is in use now, in percent: before a run that is what disturbs it. */
export async function busyPercent(): Promise<number> {
  const before = parseProcessorTicks(readFileSync('/proc/stat', 'latin1'))
  await wait(IDLE_SAMPLE_MS)
  const after = parseProcessorTicks(readFileSync('/proc/stat', 'latin1'))
  return Math.round(((after.busy - before.busy) * 100) / Math.max(1, after.total - before.total))
}

/** The commit of the working copy, with `+` when files of the product or the benches differ from it. */
export async function describeCommit(root: string): Promise<string> {
  try {
    const { stdout } = await run('git', ['rev-parse', '--short=10', 'HEAD'], { cwd: root })
    const changes = await run('git', ['status', '--porcelain', 'mesh', 'ztunnel', 'waypoint', 'bench'], {
      cwd: root,
    })
    const isChanged = changes.stdout
      .split('\n')
      .some((line) => line !== '' && !/bench\/(RESULTS|results)/.test(line))
    return `${stdout.trim()}${isChanged ? '+' : ''}`
  } catch {
    return 'unknown'
  }
}

/** The first line that a program prints of its version, on whichever stream. */
export async function versionOf(command: string, args: readonly string[], path: string): Promise<string> {
  const { stdout, stderr } = await run(command, args, { env: { PATH: path } }).catch(
    (error: { stdout?: string; stderr?: string }) => ({
      stdout: error.stdout ?? '',
      stderr: error.stderr ?? '',
    }),
  )
  return (
    `${stdout}\n${stderr}`
      .split('\n')
      .find((line) => line.trim() !== '')
      ?.trim() ?? 'unknown'
  )
}
