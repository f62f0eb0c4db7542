// SPDX-License-Identifier: Apache-2.0
// Asks `sidestep why` about a lab, as a process, from outside.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { PairVerdict } from '../../cli/why/pair-facts.ts'
import { type LabPod, type MeshLab, poll } from './mesh-lab.ts'

const CLI = fileURLToPath(new URL('../../cli/sidestep.mjs', import.meta.url))

interface Answer {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs the command. */
export function sidestep(directory: string, args: readonly string[]): Promise<Answer> {
  return new Promise((resolve) => {
    const options = { env: { HOME: directory, PATH: process.env.PATH }, timeout: 60_000 }
    const child = execFile(process.execPath, ['--no-warnings', CLI, ...args], options, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

export const nodesOf = (lab: MeshLab): readonly string[] =>
  (['n1', 'n2'] as const).flatMap((node) => ['--node', lab.adminSocket(node)])

/** What the command says of a pair. */
export async function why(
  lab: MeshLab,
  source: string,
  destination: string,
): Promise<PairVerdict & { exit: number }> {
  const { code, stdout, stderr } = await sidestep(lab.directory, [
    ...nodesOf(lab),
    ...['-o', 'json', 'why', source, destination],
  ])
  if (stdout === '') throw new Error(`why ${source} ${destination} ended with ${code}: ${stderr}`)
  return { ...(JSON.parse(stdout) as PairVerdict), exit: code } // as: what the command prints
}

/** What is stopped: by what, where, and that a fix is named. */
export async function blames(
  t: Test,
  lab: MeshLab,
  [source, destination]: readonly [string, string],
  expected: Partial<PairVerdict>,
  hop: string,
  fix: RegExp,
): Promise<PairVerdict> {
  const verdict = await why(lab, source, destination)
  const { outcome, code, policy, cause } = verdict
  t.match({ outcome, code, policy }, expected, JSON.stringify(verdict))
  t.equal(cause?.hop, hop)
  t.match(cause?.fix, fix)
  t.equal(verdict.exit, 1)
  return verdict
}

/** Nothing is blamed. */
export async function isWell(t: Test, lab: MeshLab, source: string, destination: string): Promise<void> {
  const { exit, outcome, code, cause, risks, silent } = await why(lab, source, destination)
  t.same(
    { exit, outcome, code, cause, risks, silent },
    { exit: 0, outcome: 'allowed', code: 'OK', cause: null, risks: [], silent: [] },
  )
}

/** One connection to its end, however that is. */
export async function attempt(lab: MeshLab, pod: LabPod, ip: string, port: number): Promise<void> {
  const socket = lab.connect(pod, ip, port)
  socket.write('GET / HTTP/1.1\r\nhost: cart\r\n\r\n')
  await socket.until('an answer or an end', ({ text, isClosed }) => text.includes('client ') || isClosed)
  socket.destroy()
}

/** Puts a configuration in force, and waits until it is seen. */
export async function configure(
  lab: MeshLab,
  mesh: string,
  isInForce: () => Promise<boolean>,
): Promise<void> {
  await lab.configure(mesh)
  await poll('the configuration is in force', async () => ((await isInForce()) ? true : null))
}

/** Waits until a code is named of a pair, as cause or risk; OK: neither. */
export async function seen(lab: MeshLab, source: string, destination: string, code: string): Promise<void> {
  await poll(`${code} is seen`, async () => {
    const { cause, risks } = await why(lab, source, destination)
    const codes = [cause, ...risks].flatMap((each) => each?.code ?? [])
    return code === 'OK' ? codes.length === 0 || null : codes.some((each) => each === code) || null
  })
}
