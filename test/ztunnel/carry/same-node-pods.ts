// SPDX-License-Identifier: Apache-2.0
// Whom a connection is handed to without a tunnel, with real processes: test/netns/ztunnel-same-node.ts.
import t from 'tap'
import type { SameNodeConnect } from '../../../ztunnel/carry/same-node.ts'
import { SameNodePods } from '../../../ztunnel/carry/same-node-pods.ts'
import type { ServedPod } from '../../../ztunnel/carry/served-pod.ts'

// as: nothing of a pod is looked at
const pod = (name: string): ServedPod => ({ name }) as unknown as ServedPod

t.test('a pod is found by the uid of its workload, as long as that is its and it wants to be', async (t) => {
  const pods = new SameNodePods()
  const [cart, next] = [pod('cart'), pod('next')]
  pods.configure(cart, 'u1')
  t.equal(pods.get('u1'), cart)
  pods.configure(cart, 'u2')
  t.same([pods.get('u1'), pods.get('u2')], [undefined, cart])
  pods.configure(next, 'u2')
  pods.configure(cart, null)
  t.equal(pods.get('u2'), next, 'who came after it stays')
  pods.configure(next, null)
  t.equal(pods.get('u2'), undefined)
})

t.test('other revoked certificates are asked of every connection that is open', async (t) => {
  const pods = new SameNodePods()
  const asked: string[] = []
  const connect = (name: string): SameNodeConnect => {
    const one = {
      checkRevoked(): void {
        asked.push(name)
        pods.onClosed(made)
      },
    }
    const made = one as unknown as SameNodeConnect // as: nothing else of it is used
    return made
  }
  const gone = connect('gone')
  for (const each of [connect('a'), gone, connect('b')]) pods.onOpened(each)
  pods.onClosed(gone)
  pods.onRevoked()
  pods.onRevoked()
  t.same(asked, ['a', 'b'], 'each that is open, once: it ended')
})
