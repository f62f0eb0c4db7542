// SPDX-License-Identifier: Apache-2.0
// Certificates are renewed under open tunnels: nothing is cut, and whoever comes later sees the new one.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { TestAuthority } from '../support/certificates.ts'
import { labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { TunnelAttacker } from '../support/tunnel-attacker.ts'

const CART_IP = '10.2.0.1'
const CART = 'spiffe://cluster.local/ns/shop/sa/cart'
const FRONT = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'front' }
/** So short that half of it is always over: a renewal every second. */
const TTL_SECONDS = '60'

interface DumpedIdentity {
  readonly identity: string
  readonly certChain: ReadonlyArray<{ readonly serialNumber: string }>
}

t.test('certificates are swapped without cutting a tunnel', { timeout: 60_000 }, async (t) => {
  const lab = await MeshLab.start(t.testdir({}), labMesh([]), {
    SIDESTEP_CERTIFICATE_TTL_SECONDS: TTL_SECONDS,
  })
  t.teardown(() => lab.close())
  const authority = await TestAuthority.load(readFileSync(join(lab.directory, 'ca', 'root.pem'), 'utf8'))
  const own = await authority.sign(FRONT)

  /** What the ztunnel says it uses for cart. */
  const stated = async (): Promise<string> => {
    const list = JSON.parse((await lab.admin('n2', '/certificates')).text) as DumpedIdentity[] // as: our API
    return list.find(({ identity }) => identity === CART)?.certChain[0]?.serialNumber ?? ''
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
  const seen = new Set([first])
  await poll('three renewals', async () => {
    seen.add(await stated())
    return seen.size > 3 || null
  })
  const later = await shown()
  t.not(later, first, 'a new peer sees a new certificate')
  open.write('still here')
  await open.until('an echo', ({ text }) => text.endsWith('still here'))
  t.equal(open.error, '')
  t.equal(open.isClosed, false)
  open.end()
  await open.until('closed', ({ isClosed }) => isClosed)
  const [record] = await lab.recordsAfter('n1', 0, ({ direction }) => direction === 'outbound')
  t.match(record, { reason: 'OK' })
})
