// SPDX-License-Identifier: Apache-2.0
// Runs the CNI plugin as a runtime does: configuration on stdin, the rest in the environment. SPEC CNI "Execution protocol".
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

const PLUGIN = join(import.meta.dirname, '..', '..', 'cni', 'sidestep-cni')

/** A shell, and the programs that it finds. */
export interface CniShell {
  readonly name: string
  readonly command: readonly string[]
  readonly path: string
}

/** dash with what the machine has, and busybox with nothing but itself; links are made in `directory`. */
export function cniShells(directory: string): readonly CniShell[] {
  const path = join(directory, 'busybox-only')
  mkdirSync(path)
  const busybox = spawnSync('sh', ['-c', 'command -v busybox'], { encoding: 'utf8' }).stdout.trim()
  for (const program of ['awk', 'mv', 'rm', 'sleep']) symlinkSync(busybox, join(path, program))
  return [
    { name: 'dash', command: ['dash'], path: process.env.PATH ?? '' },
    { name: 'busybox', command: [busybox, 'sh'], path },
  ]
}

/** What a plugin did. */
export interface CniOutcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
  readonly tookMs: number
}

/** Calls it; `environment` are the CNI_* variables. */
export async function callCni(
  { command: [program = '', ...args], path }: Pick<CniShell, 'command' | 'path'>,
  configuration: string,
  environment: Readonly<Record<string, string>>,
): Promise<CniOutcome> {
  const startedMs = performance.now()
  const child = spawn(program, [...args, PLUGIN], { env: { PATH: path, ...environment } })
  child.stdin.on('error', () => {}) // one that reads nothing may end before it is told all
  child.stdin.end(configuration)
  const [stdout, stderr] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    child.exitCode ?? once(child, 'exit'),
  ])
  return { status: child.exitCode, stdout, stderr, tookMs: performance.now() - startedMs }
}
