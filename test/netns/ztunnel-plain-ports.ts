// SPDX-License-Identifier: Apache-2.0
// Plain clients of an enrolled pod: the application is dialled with the client's address, and never from a port that a client
// has in use: the kernel would take the two connections for one. Few ports make it certain that they would meet.
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab } from '../support/mesh-lab.ts'

const CART_IP = '10.2.0.1'
const GREETER_PORT = 9001
/** Client ports in both namespaces. */
const PORTS = '40000 40149'
const AT_ONCE = 40
const ROUNDS = 3
const ANSWER_MS = 8_000

t.setTimeout(120_000)

t.test('many plain clients at once, few ports: each is answered', { timeout: 90_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), labMesh([]))
  t.teardown(() => lab.close())
  for (const pod of ['stranger', 'cart'] as const)
    lab.namespaceOf(pod).run(() => writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', PORTS))
  for (let round = 0; round < ROUNDS; round++) {
    const sockets = Array.from({ length: AT_ONCE }, () => lab.connect('stranger', CART_IP, GREETER_PORT))
    const answers = await Promise.all(
      sockets.map((socket) =>
        socket
          .until('the greeting', ({ text }) => text.endsWith('\r\n'), ANSWER_MS)
          .then(
            () => 'greeted',
            (error: Error) => error.message,
          ),
      ),
    )
    t.same(new Set(answers), new Set(['greeted']))
    for (const socket of sockets) socket.destroy()
  }
})
