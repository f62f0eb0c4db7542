// SPDX-License-Identifier: Apache-2.0
// An application behind an application tunnel: whatever port is called, it is asked on its own, from loopback, and a PROXY
// header tells who calls what.
import t from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab } from '../support/mesh-lab.ts'
import { readProxyHeader } from '../support/proxy-header-reader.ts'

/** Answers, at the end, all that it was sent. */
const MIRROR_PORT = 9000
const TUNNEL = `applicationTunnel: {protocol: PROXY, port: ${MIRROR_PORT}}`

t.setTimeout(120_000)

t.test('an application behind PROXY protocol is told who calls', { timeout: 60_000 }, async (t) => {
  const mesh = labMesh([]).replace(/(uid: cart,.*)\}\n/, `$1, ${TUNNEL}}\n`)
  const lab = await MeshLab.start(labDirectory(t), mesh)
  t.teardown(() => lab.close())
  for (const [ip, port, asked] of [
    ['10.96.0.10', 80, 8080],
    ['10.2.0.1', 4711, 4711],
  ] as const) {
    const socket = lab.connect('front', ip, port)
    socket.write('a question')
    socket.end()
    await socket.until('the mirror', ({ hasEnded, isClosed }) => hasEnded || isClosed)
    const bytes = Buffer.from(socket.text, 'latin1')
    const header = readProxyHeader(bytes)
    t.match(header, {
      source: { ip: '10.1.0.1' },
      destination: { ip: '10.2.0.1', port: asked },
      identity: 'spiffe://cluster.local/ns/shop/sa/front',
    })
    t.equal(bytes.toString('latin1', header?.length), 'a question')
  }
})
