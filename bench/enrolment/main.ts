// SPDX-License-Identifier: Apache-2.0
// How soon is a pod in the mesh: one that runs, under load, and one that starts? Writes ENROLMENT.md beside RESULTS.md. Needs
// root, and the lab of test/cluster. usage: npm run bench:enrolment [-- --rounds N --changes N --pods N --out DIRECTORY]
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { describeCommit } from '../measure/machine.ts'
import { measureNewPods } from './new-pods.ts'
import { enrolmentPage } from './page.ts'
import { KEPT, measureRunningPod, PER_SECOND, type RunningPod } from './running-pod.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    changes: { type: 'string', default: '20' },
    pods: { type: 'string', default: '15' },
    out: { type: 'string', default: join(import.meta.dirname, '..') },
  },
})
const [rounds, changes, pods] = [Number(values.rounds), Number(values.changes), Number(values.pods)]

const running: RunningPod[] = []
for (let round = 0; round < rounds; round++) running.push(await measureRunningPod(changes))
const text = enrolmentPage(running, await measureNewPods(pods), {
  ...{ cores: cpus().length, cpu: cpus()[0]?.model.trim() ?? '', node: process.version, changes },
  commit: await describeCommit(join(import.meta.dirname, '../..')),
  ...{ requestsPerSecond: PER_SECOND, keptConnections: KEPT },
})
writeFileSync(join(values.out, 'ENROLMENT.md'), text)
process.stdout.write(text)
