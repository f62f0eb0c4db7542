// SPDX-License-Identifier: Apache-2.0
// In a whole hand-over: test/netns/ztunnel-handover.ts.
import { join } from 'node:path'
import t from 'tap'
import { supervisorSocket } from '../../mesh/generations/handover.ts'
import { ChannelListener } from '../../mesh/reactor/channel-sockets.ts'
import { close } from '../../mesh/reactor/ffi/libc.ts'
import { endAbandoned } from '../../ztunnel/end-abandoned.ts'
import { socketDirectory } from '../support/socket-directory.ts'

t.test('what is open goes on when somebody else leads the node, and ends when nobody does', async (t) => {
  const adminSocket = join(socketDirectory(t), 'admin')
  const said: unknown[] = []
  const end = (upgradeDrainSeconds: number, isRetired = false): Promise<void> =>
    endAbandoned({
      ...{ config: { adminSocket, upgradeDrainSeconds }, drained: { isRetired } },
      drain: async (seconds) => void said.push(['drain', seconds]),
      shutdown: async (reason) => void said.push(reason),
    })
  await end(60)
  await end(30, true)
  const leader = new ChannelListener(supervisorSocket(adminSocket), close)
  t.teardown(() => leader.close())
  await end(60)
  await end(0)
  t.same(said, ['SHUTDOWN', ['drain', 30], ['drain', 60], ['drain', null]])
})
