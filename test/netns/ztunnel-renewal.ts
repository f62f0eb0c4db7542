import t from 'tap'
import type { CertificateReport } from '../../ztunnel/admin-certificates.ts'
import { TestAuthority } from '../support/certificates.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { TunnelAttacker } from '../support/tunnel-attacker.ts'

const CART_IP = '10.2.0.1'
const CART = 'spiffe://cluster.local/ns/shop/sa/cart'
const FRONT = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'front' }
/** So short that half of it is always over: a renewal every eighth of it. */
const TTL_SECONDS = '24'

t.test('certificates are swapped without cutting a tunnel', { timeout: 60_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), labMesh([]), {
    SIDESTEP_CERTIFICATE_TTL_SECONDS: TTL_SECONDS,
  })
  t.teardown(() => lab.close())
  const authority = await TestAuthority.load(await lab.rootPem())
  const own = await authority.sign(FRONT)

  /** What the ztunnel says of cart's certificate. */
  const stated = async (): Promise<CertificateReport> => {
    const list = JSON.parse((await lab.admin('n2', '/certificates')).text) as CertificateReport[] // as: our API
    const report = list.find(({ identity }) => identity === CART)
    if (report === undefined) throw new Error('no certificate of cart')
    return report
  }
  /** What a new peer is shown. */
  const shown = async (): Promise<string> => {
    const raw = lab.connect('stranger', CART_IP, 15_008)
    await raw.until('connected', ({ isConnected }) => isConnected)
    const peer = new TunnelAttacker(raw, own)
    await poll('secure', () => peer.isSecure || null)
    const { serialNumber } = peer.tls.getPeerCertificate()
    peer.destroy()
    return BigInt(`0x${serialNumber}`).toString()
  }

  const open = lab.connect('front', CART_IP, 9001)
  await open.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  const first = await shown()
  const tunnels = await stated()
  const [tunnel] = tunnels.tunnels
  t.match(tunnel, { role: 'server', peer: 'spiffe://cluster.local/ns/shop/sa/front', count: 1 })
  const source = JSON.parse((await lab.admin('n1', '/certificates')).text) as CertificateReport[] // as: our API
  const near = source.flatMap((report) => report.tunnels)
  t.match(near, [{ role: 'client', peer: CART, count: 1 }])
  t.equal(near[0]?.peerSerialNumber, tunnel?.serialNumber, 'both ends say the same of both certificates')
  t.equal(near[0]?.serialNumber, tunnel?.peerSerialNumber)

  /** A certificate that was in force before and after a peer saw it. */
  const checked = async (): Promise<string> =>
    poll('no renewal meanwhile', async () => {
      const before = await stated()
      const onWire = await shown()
      const after = await stated()
      if (before.stored !== after.stored) return null
      t.equal(onWire, before.stored, 'on the wire is what is stored')
      t.same(
        after.live.map(({ worker, serialNumber }) => [worker, serialNumber]),
        [
          [0, onWire],
          [1, onWire],
        ],
        'and what each worker says it presents',
      )
      t.match(after, { use: 'workload', alarm: 'none', renewalFailures: 0, failingSince: null })
      return onWire
    })
  const earlier = await checked()
  const seen = new Set([first, earlier])
  await poll('three renewals', async () => {
    seen.add((await stated()).stored ?? '')
    return seen.size > 3 || null
  })
  t.not(await checked(), earlier, 'a new peer sees a new certificate')
  const kept = (await stated()).tunnels.find(({ serialNumber }) => serialNumber === tunnel?.serialNumber)
  t.match(kept, { count: 1 }, 'the open tunnel has the one it was made with')
  open.write('still here')
  await open.until('an echo', ({ text }) => text.endsWith('still here'))
  t.equal(open.error, '')
  t.equal(open.isClosed, false)
  open.end()
  await open.until('closed', ({ isClosed }) => isClosed)
  const [record] = await lab.recordsAfter('n1', 0, ({ direction }) => direction === 'outbound')
  t.match(record, { reason: 'OK' })
})
