// SPDX-License-Identifier: Apache-2.0
// Every command docs/kubernetes.md shows, on a real apiserver.
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { CLUSTER_TEST_MS, Cluster, KUBECTL } from '../support/cluster.ts'
import { poll } from '../support/mesh-lab.ts'
import { runPage } from '../support/page-commands.ts'
import { requestUnix } from '../support/unix-http.ts'

t.setTimeout(CLUSTER_TEST_MS)

t.test('the commands of the page start two replicas of which one leads', async (t) => {
  const cluster = await Cluster.open()
  t.teardown(() => cluster.close())
  const programs = mkdtempSync(join(tmpdir(), 'programs-'))
  t.teardown(() => rmSync(programs, { recursive: true }))
  symlinkSync(KUBECTL, join(programs, 'kubectl'))
  const { output, home } = await runPage(t, 'docs/kubernetes.md', ['15012', '15013'], {
    path: programs,
    KUBECONFIG: cluster.kubeconfig,
  })
  t.match(output, /"isLeader":(true|false)/)
  t.match(output, /"findings":\[\]/)
  const sockets = ['one', 'two'].map((name) => join(home, 'mesh', `${name}.sock`))
  const leaders = await poll('a leader', async () => {
    const answers = await Promise.all(sockets.map((socket) => requestUnix(socket, 'GET', '/leader')))
    const leading = answers.filter(({ body }) => body.includes('"isLeader":true'))
    return leading.length > 0 ? leading.length : null
  })
  t.equal(leaders, 1)
  const roots = await Promise.all(
    sockets.map(async (socket) => (await requestUnix(socket, 'GET', '/ca/roots')).body),
  )
  t.equal(roots[0], roots[1])
})
