// SPDX-License-Identifier: Apache-2.0
// What nodes tell of their traffic while it flows, with real processes: how long things take.
import t, { type Test } from 'tap'
import { type LabNode, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_VIP = '10.96.0.10'
const GREETER_PORT = 9001
const CART_IP = '10.2.0.1'

t.setTimeout(120_000)

async function histogram(lab: MeshLab, node: LabNode, metric: string, labels: string): Promise<number[]> {
  const { text } = await lab.admin(node, '/metrics')
  const name = `sidestep_${metric}_duration_seconds`
  const value = (suffix: string, extra = ''): number =>
    Number(text.split(`${name}_${suffix}{${labels}${extra}} `)[1]?.split('\n')[0] ?? 0)
  return [value('bucket', ',le="10.0"'), value('count'), value('sum')]
}

async function testHistograms(t: Test, lab: MeshLab): Promise<void> {
  await t.test('connects, handshakes and first bytes are measured at both ends', async (t) => {
    for (let count = 0; count < 3; count++) {
      const socket = lab.connect('front', CART_VIP, 80)
      socket.write('GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n')
      await socket.until('answered', ({ text, hasEnded }) => /200 OK/.test(text) && hasEnded)
      socket.end()
    }
    const greeted = lab.connect('front', CART_IP, GREETER_PORT)
    await greeted.until('greeted', ({ text }) => text.endsWith('\r\n'))
    for (const [node, reporter] of [
      ['n1', 'source'],
      ['n2', 'destination'],
    ] as const) {
      const labels = `reporter="${reporter}",transport="HBONE"`
      for (const [metric, least, most] of [
        ['connect', 4, 4],
        ['first_byte', 4, 4],
        ['tls_handshake', 1, 4],
      ] as const) {
        const [bounded = 0, count = 0, sum = 0] = await poll(`${metric} of ${node}`, async () => {
          const found = await histogram(lab, node, metric, labels)
          return (found[1] ?? 0) >= least ? found : null
        })
        t.ok(count <= most, `${metric} of ${node}: ${count}`)
        t.equal(bounded, count, 'none took ten seconds')
        t.ok(sum > 0 && sum < 10, `${sum} s`)
      }
    }
    greeted.destroy()
  })
}

t.test('insight', async (t) => {
  const lab = await MeshLab.start(t.testdir({}), labMesh(['batch']))
  t.teardown(() => lab.close())
  await testHistograms(t, lab)
})
