// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { capture } from '../../../cli/commands/capture.ts'
import { CliError, EXIT_UNREACHABLE } from '../../../cli/exit-codes.ts'
import { type FleetNode, plainFleet } from '../../../cli/fleet/fleet.ts'
import { runCommand } from '../../support/cli-run.ts'
import { nodeView, paperNode, shopMesh } from '../../support/node-views.ts'

function fleet(asked: string[], chunks: readonly string[] | Error) {
  const node: FleetNode = {
    ...paperNode(nodeView('n2', shopMesh())),
    async *stream(path) {
      asked.push(path)
      if (chunks instanceof Error) throw chunks
      for (const chunk of chunks) yield Buffer.from(chunk)
    },
  }
  return plainFleet([paperNode(nodeView('n1', shopMesh())), node])
}
const flags = (out: string) => ({ out, seconds: '5', bytes: '1000' })

t.test('what the node sends is in a file for its owner alone', async (t) => {
  const [asked, out]: [string[], string] = [[], join(t.testdir({}), 'cart.pcapng')]
  const { code, talk, output } = await runCommand(fleet(asked, ['one', 'two']), (io) =>
    capture(io, 'cart', flags(out)),
  )
  t.equal(code, 0)
  t.equal(readFileSync(out, 'utf8'), 'onetwo')
  t.equal(statSync(out).mode & 0o777, 0o600)
  t.match(asked[0], /^\/capture\?pod=shop%2Fcart&by=[^&]+%40[^&]+&seconds=5&bytes=1000$/)
  t.match(talk, /6 bytes/)
  t.equal(output, '')
})

t.test('a refusal leaves no file, and no file is written over', async (t) => {
  const out = join(t.testdir({}), 'cart.pcapng')
  const refused = fleet([], new CliError(EXIT_UNREACHABLE, 'n2 refuses: SIDESTEP_CAPTURE'))
  await t.rejects(
    runCommand(refused, (io) => capture(io, 'cart', flags(out))),
    { message: /SIDESTEP_CAPTURE/, exitCode: EXIT_UNREACHABLE },
  )
  t.notOk(existsSync(out))
  writeFileSync(out, 'mine')
  await t.rejects(
    runCommand(fleet([], ['x']), (io) => capture(io, 'cart', flags(out))),
    { message: /cannot be written/, exitCode: 2 },
  )
  t.equal(readFileSync(out, 'utf8'), 'mine')
  await t.rejects(
    runCommand(fleet([], ['x']), (io) => capture(io, 'nobody', flags(out))),
    { message: /no node serves nobody/, exitCode: 2 },
  )
})
