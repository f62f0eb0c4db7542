// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ApiError } from '../../../../mesh/kubernetes/client.ts'
import { askPod } from '../../../../ztunnel/supervisor/enroll/ask-pod.ts'

const UID = '0a1b2c3d-0000-4000-8000-0123456789ab'
const pod = (uid = UID, nodeName = 'n1') => ({
  metadata: { name: 'cart', namespace: 'shop', uid },
  spec: { nodeName },
})

async function ask(answer: unknown, uid: string | null = UID) {
  const paths: string[] = []
  const getJson = async (path: string) => {
    paths.push(path)
    if (answer instanceof Error) throw answer
    return answer
  }
  const said = await askPod(
    { getJson },
    'n1',
    { namespace: 'shop', name: 'cart', uid },
    new AbortController().signal,
  )
  return { said, paths }
}

t.test('exactly the pod that is meant', async (t) => {
  const { said, paths } = await ask(pod())
  t.match(said, { info: { uid: UID, serviceAccount: 'default' } })
  t.same(paths, ['/api/v1/namespaces/shop/pods/cart'])
  t.match(
    (await ask(pod(), null)).said,
    { info: { uid: UID } },
    'by its name, where the runtime gives no uid',
  )
})

t.test('another one of its name, or of another node, is none', async (t) => {
  for (const other of [pod(UID.replace('0a', 'ff')), pod(UID, 'n2'), {}, 'garbage'])
    t.equal((await ask(other)).said, 'gone')
  t.equal((await ask(new ApiError(404, 'no such pod'))).said, 'gone')
})

t.test('no answer says nothing about the pod', async (t) => {
  for (const error of [new ApiError(403, 'forbidden'), new ApiError(500, 'broken'), new Error('nobody')])
    t.equal((await ask(error)).said, 'unknown')
})
