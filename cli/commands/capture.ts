// SPDX-License-Identifier: Apache-2.0
// `sidestep capture POD --out FILE`: the payload of a pod, decrypted, as a pcapng file for Wireshark.
import { type FileHandle, open } from 'node:fs/promises'
import { hostname, userInfo } from 'node:os'
import { CliError, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE } from '../exit-codes.ts'
import type { CommandIo } from '../output.ts'
import { printable } from '../printable.ts'

/** What is captured, and where to. */
export interface CaptureFlags {
  readonly out: string
  /** Numbers, as they were typed; the node knows their limits. */
  readonly seconds: string
  readonly bytes: string
}

/** Writes the file until time or bytes are used up, or it is interrupted. @throws CliError */
export async function capture(
  io: CommandIo,
  pod: string,
  { out, seconds, bytes }: CaptureFlags,
): Promise<number> {
  const fleet = await io.openFleet()
  const nodes = await fleet.nodesOf(pod)
  const serving = await Promise.all(nodes.map(async (node) => ({ node, pods: await node.pod(pod) })))
  const found = serving.flatMap(({ node, pods }) => pods.map((facts) => ({ node, pod: facts.pod })))
  const [first] = found
  if (first === undefined || found.length > 1)
    throw new CliError(
      EXIT_USAGE,
      `${found.length === 0 ? 'no node serves' : 'several pods have the name'} ${pod}`,
    )
  const by = `${userInfo().username}@${hostname()}`
  const name = `${first.pod.namespace}/${first.pod.name}`
  const query = new URLSearchParams({ pod: name, by, seconds, bytes })
  const chunks = first.node.stream(`/capture?${query}`, io.untilInterrupted())
  let file: FileHandle | null = null
  let byteCount = 0
  try {
    for await (const chunk of chunks) {
      // Made only once the node has agreed. It is payload: for its owner alone, and never over something else.
      if (file === null) {
        file = await openNew(out)
        io.warn(`capturing ${printable(name)} into ${printable(out)}; Ctrl-C ends it\n`)
      }
      await file.writeFile(chunk)
      byteCount += chunk.length
    }
  } finally {
    await file?.close()
  }
  if (file === null) throw new CliError(EXIT_UNREACHABLE, 'the node has ended before it began')
  io.warn(`${byteCount} bytes\n`)
  return EXIT_OK
}

async function openNew(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'wx', 0o600)
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error)
    throw new CliError(EXIT_USAGE, `${path} cannot be written: ${cause}`, error)
  }
}
