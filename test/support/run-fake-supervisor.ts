// SPDX-License-Identifier: Apache-2.0
// Program: a supervisor that says what it is told to do. usage: run-fake-supervisor ADMIN_SOCKET good|refused|broken|mistaken
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { runSupervisor } from '../../mesh/generations/run-supervisor.ts'

const say = (what: string): void => void process.stdout.write(`${what}\n`)

await runSupervisor({
  name: 'ztunnel',
  readConfig: ([adminSocket = '', kind = '']) => ({
    options: { adminSocket, kind, logLevel: 'info' },
    mistakes: kind === 'mistaken' ? ['one', 'two'] : [],
  }),
  logFields: ({ kind }) => ({ kind }),
  failure: 'it cannot serve',
  open: async ({ kind }, args, cache) => {
    say(`opened with ${args.length} arguments, ${cache === null ? 'no cache' : 'a cache'}`)
    return {
      start: async () => {
        if (kind === 'refused') throw new MeshError('CNI_CONFIG', { detail: 'by somebody' })
        if (kind === 'broken') throw new TypeError('a defect')
        say('started')
        setInterval(() => {}, 1000)
      },
      upgrade: () => say('upgraded'),
      stop: async () => say('stopped'),
    }
  },
})
