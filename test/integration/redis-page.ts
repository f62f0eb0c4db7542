// SPDX-License-Identifier: Apache-2.0
// Every command docs/redis.md shows.
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { ControllerLink } from '../../mesh/control/controller-link.ts'
import { certificateRequests } from '../../mesh/identity/certificate-requests.ts'
import { systemClock as clock } from '../../mesh/runtime/clock.ts'
import { poll } from '../support/mesh-lab.ts'
import { runPage } from '../support/page-commands.ts'
import { requestUnix } from '../support/unix-http.ts'

t.setTimeout(120_000)

t.test('the commands of the page start two replicas of which one leads', async (t) => {
  const { output, home, portOf } = await runPage(t, 'docs/redis.md', ['6379', '15012', '15013'])
  const directory = join(home, 'replicas')
  t.equal(statSync(join(directory, 'password')).mode & 0o777, 0o600)
  t.notMatch(output, readFileSync(join(directory, 'password'), 'utf8').trim())
  t.match(output, /"count":1/)
  t.match(output, /shop\/cart/)
  const sockets = ['one', 'two'].map((name) => join(directory, `${name}.sock`))
  const leaders = await poll('a leader', async () => {
    const answers = await Promise.all(sockets.map((socket) => requestUnix(socket, 'GET', '/leader')))
    const leading = answers.filter(({ body }) => body.includes('"isLeader":true'))
    return leading.length > 0 ? leading.length : null
  })
  t.equal(leaders, 1)

  const [, token = ''] = /"token":"(sidestep-join\.[^"]+)"/.exec(output) ?? []
  const tokenFile = join(home, 'token')
  writeFileSync(tokenFile, token)
  const node = new ControllerLink({
    controllerAddresses: [],
    caAddresses: ['15012', '15013'].map((port) => `localhost:${portOf(port)}`),
    ...{ rootsFile: join(directory, 'roots.pem'), tokenFile, clusterId: 'Kubernetes', nodeName: 'vm1' },
    ...{ trustDomain: 'cluster.local', stateDirectory: join(home, 'node'), requests: certificateRequests },
    ...{ clock, random: () => 0, log: pino({ level: 'silent' }) },
  })
  t.teardown(() => node.close())
  await node.start()
  t.ok((await node.credentials()).connection.identity, 'the node has joined')
})
