import t from 'tap'
import { TestAuthority } from '../support/certificates.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabRecord, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { connectFrame, FRAME_TYPE, frame, PREFACE, TunnelAttacker } from '../support/tunnel-attacker.ts'

const CART_IP = '10.2.0.1'
const STRANGER_IP = '10.1.0.3'
/** The stranger's address is that of a workload of front's service account. */
const MESH = labMesh([]).replace(
  'workloads:\n',
  `workloads:\n- {uid: guest, name: guest-1, namespace: shop, serviceAccount: front, trustDomain: cluster.local, ` +
    `workloadIps: ["${STRANGER_IP}"], protocol: HBONE, node: n1, clusterId: far-away, services: {}}\n`,
)
const account = (serviceAccount: string) => ({
  trustDomain: 'cluster.local',
  namespace: 'shop',
  serviceAccount,
})

t.test('callers without baggage', { timeout: 60_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), MESH)
  t.teardown(() => lab.close())
  const authority = await TestAuthority.load(await lab.rootPem())

  /** Two streams one after the other: the second one finds what was learnt for the first one. */
  async function recordsOf(serviceAccount: string): Promise<LabRecord[]> {
    const known = (await lab.records('n2')).length
    const raw = lab.connect('stranger', CART_IP, 15_008)
    await raw.until('connected', ({ isConnected }) => isConnected)
    const peer = new TunnelAttacker(raw, await authority.sign(account(serviceAccount)))
    await poll('secure', () => peer.isSecure || null)
    peer.tls.write(PREFACE)
    peer.tls.write(frame(FRAME_TYPE.SETTINGS, 0, 0, Buffer.alloc(0)))
    for (const stream of [1, 3]) {
      peer.tls.write(connectFrame(stream, `${CART_IP}:9001`))
      const isGreeted = () =>
        peer.frames().some((each) => each.type === FRAME_TYPE.DATA && each.stream === stream)
      await poll('the greeting', () => isGreeted() || null)
    }
    peer.destroy()
    return await poll('two records', async () => {
      const found = (await lab.records('n2')).slice(known)
      return found.length < 2 ? null : found
    })
  }

  await t.test('the workload at the address is named when it has the proven identity', async (t) => {
    for (const record of await recordsOf('front'))
      t.match(record, {
        'src.workload': 'guest-1',
        'src.namespace': 'shop',
        'src.identity': 'spiffe://cluster.local/ns/shop/sa/front',
        'src.cluster': 'far-away',
      })
    const { text } = await lab.admin('n2', '/metrics')
    t.match(text, /istio_tcp_connections_opened_total\{[^}]*source_workload="guest-1"/)
  })

  await t.test('an address alone names nobody', async (t) => {
    for (const record of await recordsOf('batch')) {
      t.equal(record['src.identity'], 'spiffe://cluster.local/ns/shop/sa/batch')
      t.notOk('src.workload' in record, 'no name')
    }
  })
})
