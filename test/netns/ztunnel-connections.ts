// SPDX-License-Identifier: Apache-2.0
// What applications and operators of two meshed nodes see: addresses, identities, refusals, policies that change
// under open connections, restarts, hostile peers and the end. Real processes, observed from outside only.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { RETURN_PRIORITY, readRedirectRules } from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabNode, type LabPod, type LabSocket, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CART_VIP = '10.96.0.10'
const CART_IP = '10.2.0.1'
const FRONT_IP = '10.1.0.1'
const STRANGER_IP = '10.1.0.3'
const HBONE_PORT = 15_008
/** A data process that died is back within a second; what it took is told, and only a defect takes this long. */
const RESTART_LIMIT_MS = 15_000
/** A configuration that cannot be read is waited for at least as long. */
const PATIENCE_MS = 2000
const ONE_TEST = { timeout: 30_000 }
const identity = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`
t.setTimeout(300_000)
const REQUEST = 'GET / HTTP/1.1\r\nhost: cart\r\n\r\n'
const GOOD = labMesh(['batch'])

const count = async (lab: MeshLab, node: LabNode): Promise<number> => (await lab.records(node)).length

/** Sends a request and waits for the answer or the end. */
async function ask(lab: MeshLab, pod: LabPod, ip: string, port: number): Promise<LabSocket> {
  const socket = lab.connect(pod, ip, port)
  socket.write(REQUEST)
  await socket.until('an answer', ({ text, isClosed }) => text.includes('client ') || isClosed)
  return socket
}

async function reaches(lab: MeshLab): Promise<boolean> {
  const socket = await ask(lab, 'front', CART_VIP, 80)
  socket.destroy()
  return socket.text.includes('200 OK')
}

async function testAddresses(t: Test, lab: MeshLab): Promise<void> {
  for (const [how, ip, port] of [
    ['service', CART_VIP, 80],
    ['pod', CART_IP, 8080],
  ] as const) {
    await t.test(
      `by ${how} address, the application sees its client, and each side records it`,
      ONE_TEST,
      async (t) => {
        const known = { n1: await count(lab, 'n1'), n2: await count(lab, 'n2') }
        const socket = await ask(lab, 'front', ip, port)
        t.match(socket.text, new RegExp(`client ${FRONT_IP.replaceAll('.', '\\.')}$`))
        socket.end()
        await socket.until('closed', ({ isClosed }) => isClosed)
        for (const [node, direction] of [
          ['n1', 'outbound'],
          ['n2', 'inbound'],
        ] as const) {
          const found = await lab.recordsAfter(node, known[node], (record) => record.direction === direction)
          t.equal(found.length, 1, `one record at ${node}`)
          t.match(found[0], {
            reason: 'OK',
            transport: 'HBONE',
            'src.identity': identity('front'),
            'dst.identity': identity('cart'),
            'dst.hbone_addr': `${CART_IP}:8080`,
          })
        }
      },
    )
  }
}

async function testRefusals(t: Test, lab: MeshLab): Promise<void> {
  await t.test(
    'a refused caller is reset, and the record of the destination names the policy',
    ONE_TEST,
    async (t) => {
      const known = await count(lab, 'n2')
      const socket = await ask(lab, 'batch', CART_VIP, 80)
      t.equal(socket.error, 'ECONNRESET')
      t.equal(socket.text, '')
      const found = await lab.recordsAfter(
        'n2',
        known,
        (record) => record['src.identity'] === identity('batch'),
      )
      t.equal(found.length, 1)
      t.match(found[0], { reason: 'POLICY_DENY', direction: 'inbound', policy: 'shop/no-batch' })
    },
  )

  await t.test(
    'the node of the caller explains beforehand what will happen, and why',
    ONE_TEST,
    async (t) => {
      const asked = await lab.admin('n1', `/explain?pod=shop/batch&ip=${CART_VIP}&port=80`)
      t.equal(asked.status, 200)
      t.match(JSON.parse(asked.text), {
        source: identity('batch'),
        outbound: { code: 'OK' },
        inbound: { code: 'POLICY_DENY', policy: 'shop/no-batch', fix: /no-batch/ },
      })
      t.equal((await lab.admin('n1', '/explain?pod=shop/batch&ip=nonsense&port=80')).status, 400)
      t.equal((await lab.admin('n1', `/explain?pod=shop/cart&ip=${CART_IP}&port=80`)).status, 404)
    },
  )

  await t.test('a port nobody listens on is recorded as such on both sides', ONE_TEST, async (t) => {
    const known = { n1: await count(lab, 'n1'), n2: await count(lab, 'n2') }
    const socket = await ask(lab, 'front', CART_IP, 9999)
    t.equal(socket.error, 'ECONNRESET')
    for (const node of ['n1', 'n2'] as const) {
      const found = await lab.recordsAfter(node, known[node], (record) => record.reason !== 'OK')
      t.same(
        found.map(({ reason }) => reason),
        ['ENDPOINT_REFUSED'],
        node,
      )
    }
  })
}

async function testNoTunnelPort(t: Test, lab: MeshLab): Promise<void> {
  await t.test('a tunnel port that nobody listens on is not the application’s fault', ONE_TEST, async (t) => {
    const known = await count(lab, 'n1')
    await lab.configure(
      GOOD.replace(
        'workloads:\n',
        'workloads:\n- {uid: ghost, name: ghost, namespace: shop, serviceAccount: ghost, services: {}, ' +
          `trustDomain: cluster.local, workloadIps: ["${STRANGER_IP}"], protocol: HBONE, node: n1}\n`,
      ),
    )
    const record = await poll('a refused tunnel', async () => {
      const socket = await ask(lab, 'front', STRANGER_IP, 8080)
      t.equal(socket.error, 'ECONNRESET')
      return (await lab.records('n1')).slice(known).find(({ transport }) => transport === 'HBONE') ?? null
    })
    t.match(record, {
      reason: 'HBONE_PORT_REFUSED',
      detail: `${STRANGER_IP}:${HBONE_PORT}: Connection refused`,
      fix: /ztunnel/,
      'dst.workload': 'ghost',
    })
    await lab.configure(GOOD)
  })
}

async function testStreams(t: Test, lab: MeshLab): Promise<void> {
  await t.test('a client that has finished writing still gets the whole answer', ONE_TEST, async (t) => {
    const request = Array.from({ length: 40_000 }, (_, index) => `line ${index}\n`).join('')
    const socket = lab.connect('front', CART_IP, 9000)
    socket.write(request)
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.ok(socket.hasEnded, 'ended in order')
    t.equal(socket.error, '')
    t.equal(socket.text.length, request.length)
    t.ok(socket.text === request, 'byte for byte')
  })

  await t.test('a server may speak first', ONE_TEST, async (t) => {
    const socket = lab.connect('front', CART_IP, 9001)
    await socket.until('the greeting', ({ text }) => text.endsWith('\r\n'))
    t.equal(socket.text, '220 cart\r\n')
    socket.write('hello')
    await socket.until('the echo', ({ text }) => text.endsWith('hello'))
    socket.end()
    await socket.until('the end', ({ isClosed }) => isClosed)
    t.equal(socket.error, '')
  })
}

async function testPolicyChange(t: Test, lab: MeshLab): Promise<void> {
  await t.test(
    'a policy that comes cuts the connections it refuses, and going lets new ones in',
    ONE_TEST,
    async (t) => {
      const known = await count(lab, 'n2')
      const open = await ask(lab, 'front', CART_VIP, 80)
      open.write(REQUEST)
      await open.until('a second answer', ({ text }) => text.split('client ').length === 3)
      await lab.configure(labMesh(['batch', 'front']))
      await open.until('cut', ({ isClosed }) => isClosed)
      t.same(
        { error: open.error, hasEnded: open.hasEnded },
        { error: 'ECONNRESET', hasEnded: false },
        'no end of it',
      )
      const [cut] = await lab.recordsAfter('n2', known, ({ reason }) => reason === 'POLICY_CHANGED')
      t.match(cut, { direction: 'inbound', 'src.identity': identity('front'), policy: 'shop/no-front' })
      t.notOk(await reaches(lab), 'new ones are refused')
      await lab.configure(GOOD)
      t.ok(await poll('allowed again', async () => (await reaches(lab)) || null))
    },
  )
}

async function testBrokenFile(t: Test, lab: MeshLab): Promise<void> {
  await t.test(
    'a broken file changes nothing, and its mistakes are shown with file and line',
    ONE_TEST,
    async (t) => {
      const findings = async (): Promise<string[]> =>
        (JSON.parse((await lab.admin('n2', '/config_dump')).text) as { findings: string[] }).findings // as: our API
      const unknownField = GOOD.replace('- {uid: batch,', '- {colour: red, uid: batch,')
      for (const [broken, line, what] of [
        ['workloads:\n- {uid: front\nservices: ]', '[23]', /./],
        [unknownField, '3', /colour/],
      ] as const) {
        await lab.configure(broken)
        const found = await poll('findings', async () => {
          const text = (await findings()).join('\n')
          return text !== '' && what.test(text) ? text : null
        })
        t.match(found, new RegExp(`mesh\\.yaml:${line}\\b`))
        t.ok(await reaches(lab), 'the last good one is in force')
        await lab.configure(GOOD)
        await poll('no findings', async () => (await findings()).length === 0 || null)
      }
    },
  )
}

async function testHostilePeers(t: Test, lab: MeshLab, silent: LabSocket): Promise<void> {
  await t.test('garbage at the tunnel port ends that connection only, with a record', ONE_TEST, async (t) => {
    const known = await count(lab, 'n2')
    const open = await ask(lab, 'front', CART_VIP, 80)
    const garbage = lab.connect('stranger', CART_IP, HBONE_PORT)
    garbage.write('\u00ff\u0000garbage, no TLS at all\r\n'.repeat(20))
    await garbage.until('dropped', ({ isClosed, hasEnded }) => isClosed || hasEnded)
    garbage.destroy()
    t.ok(await lab.recordsAfter('n2', known, ({ reason }) => reason === 'TLS_HANDSHAKE'))
    open.write(REQUEST)
    await open.until('a second answer', ({ text }) => text.split('client ').length === 3)
    open.destroy()
    t.ok(await reaches(lab), 'new connections are served')
  })

  await t.test('a peer that never speaks is dropped with a record', ONE_TEST, async (t) => {
    await silent.until('dropped', ({ isClosed, hasEnded }) => isClosed || hasEnded)
    const found = await lab.recordsAfter('n2', 0, ({ reason }) => reason === 'HANDSHAKE_TIMEOUT')
    t.equal(found.length, 1)
    silent.destroy()
  })
}

async function testMetrics(t: Test, lab: MeshLab): Promise<void> {
  await t.test('the metrics tell what the process holds, as the kernel counts it', ONE_TEST, async (t) => {
    const [pid = -1] = lab.dataPids('n2')
    const page = async (): Promise<string> => (await lab.admin('n2', '/metrics')).text
    const value = (text: string, name: string): number =>
      Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? Number.NaN)
    const tunnels = (text: string): number =>
      [...text.matchAll(/^sidestep_native_handles\{worker="\d+",kind="SSL"\} (\d+)$/gm)].reduce(
        (sum, [, count]) => sum + Number(count),
        0,
      )
    const proc = (file: string, pattern: RegExp): number =>
      Number(pattern.exec(readFileSync(`/proc/${pid}/${file}`, 'latin1'))?.[1] ?? Number.NaN)

    const before = await page()
    for (const worker of [0, 1])
      t.ok(value(before, `sidestep_native_handles{worker="${worker}",kind="descriptor"}`) > 0, `${worker}`)
    const descriptors = readdirSync(`/proc/${pid}/fd`).length
    t.ok(Math.abs(value(before, 'process_open_fds') - descriptors) <= 5, `${descriptors} open descriptors`)
    t.equal(value(before, 'process_max_fds'), proc('limits', /^Max open files +(\d+)/m))
    const resident = proc('status', /^VmRSS:\s+(\d+)/m) * 1024
    const share = value(before, 'process_resident_memory_bytes') / resident
    t.ok(share > 0.8 && share < 1.25, `${share.toFixed(2)} of what the kernel says`)

    const peer = lab.connect('stranger', CART_IP, HBONE_PORT) // a handshake that never ends is an SSL
    await poll('one more', async () => tunnels(await page()) === tunnels(before) + 1 || null)
    peer.destroy()
    await poll('one less', async () => tunnels(await page()) === tunnels(before) || null)
  })
}

async function testRestarts(t: Test, lab: MeshLab): Promise<void> {
  for (const [node, role] of [
    ['n1', 'client'],
    ['n2', 'server'],
  ] as const) {
    await t.test(`a connect while the data process of the ${role} is away succeeds`, ONE_TEST, async (t) => {
      const [victim = -1, ...others] = lab.dataPids(node)
      t.same(others, [], 'one data process')
      const killedMs = performance.now()
      process.kill(victim, 'SIGKILL')
      await poll('death', () => isGone(victim) || null)
      const socket = await ask(lab, 'front', CART_VIP, 80)
      const tookMs = performance.now() - killedMs
      t.equal(socket.error, '')
      t.match(socket.text, /200 OK/)
      t.comment(`answered after ${tookMs.toFixed(0)} ms`)
      t.ok(tookMs < RESTART_LIMIT_MS)
      socket.destroy()
      await lab.ready(node)
      t.not(lab.dataPids(node)[0], victim, 'by another process')
    })
  }
}

async function testBrokenStart(t: Test, lab: MeshLab): Promise<void> {
  await t.test(
    'without a configuration connects wait a while, then are refused by name',
    ONE_TEST,
    async (t) => {
      await lab.configure('workloads: nonsense')
      const [victim = -1] = lab.dataPids('n2')
      process.kill(victim, 'SIGKILL')
      await poll('death', () => isGone(victim) || null)
      const killedMs = performance.now()
      t.equal((await ask(lab, 'front', CART_IP, 8080)).error, 'ECONNRESET')
      t.ok(performance.now() - killedMs > PATIENCE_MS, 'not at once: a file may still come')
      const found = await lab.recordsAfter('n2', 0, ({ direction }) => direction === 'inbound')
      t.same(new Set(found.map(({ reason }) => reason)), new Set(['WORKLOAD_UNKNOWN']))
      await lab.configure(GOOD)
      await lab.ready('n2')
      t.ok(await poll('served', async () => (await reaches(lab)) || null))
    },
  )
}

async function testEnd(t: Test, lab: MeshLab): Promise<void> {
  await t.test('SIGTERM ends everything and leaves no rule behind', ONE_TEST, async (t) => {
    const pods = ['front', 'batch', 'cart'] as const
    for (const pod of pods)
      t.ok(readRedirectRules(lab.namespaceOf(pod)).tables.length > 0, `${pod} has rules`)
    const pids = [...lab.dataPids('n1'), ...lab.dataPids('n2')]
    t.equal(pids.length, 2)
    t.same(await Promise.all([lab.stop('n1'), lab.stop('n2')]), ['0', '0'], 'exit codes')
    for (const pod of pods) {
      const { tables, markRules } = readRedirectRules(lab.namespaceOf(pod))
      t.same(tables, [], `${pod} has no table`)
      t.same(
        markRules.filter(({ priority }) => priority === RETURN_PRIORITY),
        [],
        `${pod} has no mark rule`,
      )
    }
    t.same(
      pids.filter((pid) => existsSync(`/proc/${pid}`)),
      [],
      'no data process is left',
    )
  })
}

t.test('connections between two nodes', { timeout: 110_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), GOOD)
  t.teardown(() => lab.close())
  // Opened first: its handshake deadline passes while the other tests run.
  const silent = lab.connect('stranger', CART_IP, HBONE_PORT)
  await silent.until('connected', ({ isConnected }) => isConnected)

  await testAddresses(t, lab)
  await testRefusals(t, lab)
  await testNoTunnelPort(t, lab)
  await testStreams(t, lab)
  await testPolicyChange(t, lab)
  await testBrokenFile(t, lab)
  await testHostilePeers(t, lab, silent)
  await testMetrics(t, lab)
  await testRestarts(t, lab)
  await testBrokenStart(t, lab)
  await testEnd(t, lab)
})

/** Reaped: a zombie may have threads left that hold its sockets open. */
function isGone(pid: number): boolean {
  return !existsSync(`/proc/${pid}`)
}
