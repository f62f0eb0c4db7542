// SPDX-License-Identifier: Apache-2.0
// Entry of the image: its first argument names the part, the others are that part's options. The part takes the place of
// this process, with the flags of Node that its own first line asks for.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const PARTS = {
  ztunnel: '../ztunnel/supervisor/main.ts',
  waypoint: '../waypoint/supervisor/main.ts',
  controller: '../controller/main.ts',
  cli: '../cli/sidestep.mjs',
}
const [name = '', ...options] = process.argv.slice(2)
if (!Object.hasOwn(PARTS, name)) {
  process.stderr.write(`usage: ${Object.keys(PARTS).join(' | ')} [options]\n`)
  process.exit(2)
}
const program = fileURLToPath(new URL(PARTS[name], import.meta.url))
const [first] = readFileSync(program, 'utf8').split('\n', 1)
const flags = first.split(' ').filter((word) => word.startsWith('--'))
process.execve(process.execPath, [process.execPath, ...flags, program, ...options], process.env)
