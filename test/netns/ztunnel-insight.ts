// SPDX-License-Identifier: Apache-2.0
// What nodes tell of their traffic while it flows, with real processes: how long things take, what happens.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { PodFacts } from '../../ztunnel/decide/pod-facts.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabNode, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { readPcapng } from '../support/read-pcapng.ts'

const CLI = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
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

/** `sidestep` as a process of its own. */
function sidestep(t: Test, lab: MeshLab, args: readonly string[]) {
  const nodes = (['n1', 'n2'] as const).flatMap((node) => ['--node', lab.adminSocket(node)])
  const child = spawn(process.execPath, ['--no-warnings', CLI, ...nodes, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const run = { child, stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => {
    run.stdout += String(chunk)
  })
  child.stderr.on('data', (chunk) => {
    run.stderr += String(chunk)
  })
  t.teardown(() => child.kill('SIGKILL'))
  return run
}

/** What it prints in the end. */
async function answer(t: Test, lab: MeshLab, args: readonly string[]): Promise<string> {
  const run = sidestep(t, lab, args)
  await once(run.child, 'close')
  t.equal(run.child.exitCode, 0, run.stderr)
  return run.stdout
}

async function testPod(t: Test, lab: MeshLab): Promise<void> {
  await t.test(
    'a pod is told with its listeners, its connections and what was counted of them',
    async (t) => {
      const open = lab.connect('front', CART_IP, GREETER_PORT)
      await open.until('greeted', ({ text }) => text.endsWith('\r\n'))
      const denied = lab.connect('batch', CART_VIP, 80)
      await denied.until('refused', ({ isClosed }) => isClosed)
      const page = await poll('both are counted', async () => {
        const found = JSON.parse(await answer(t, lab, ['-o', 'json', 'ps', 'cart'])) as PodFacts // as: what ps prints
        return found.counts.some(({ reason }) => reason === 'POLICY_DENY') ? found : null
      })
      const of = (reason: string) =>
        page.counts.find((each) => each.reason === reason && each.direction === 'inbound')
      t.ok((of('OK')?.opened ?? 0) >= 1)
      t.match(of('POLICY_DENY'), { opened: 0, isPlaintext: false })
      const state = (port: number) => page.listeners?.find((each) => each.port === port)
      t.match(state(8080), { owner: 'application', state: 'listens', names: [/^shop\/cart\..*:80$/] })
      for (const [port, name] of [
        [15_001, 'outbound'],
        [15_006, 'passthrough'],
        [15_008, 'inbound'],
      ] as const)
        t.match(state(port), { owner: 'mesh', state: 'listens', names: [name], waitingCount: 0 })
      t.notOk(state(9999))
      t.match(page.policies, [{ policy: 'shop/no-batch', effect: /^refuses identity .*batch$/ }])
      const text = await answer(t, lab, ['ps', 'shop/cart'])
      t.match(text, /^8080 +application +listens /m)
      t.match(text, /^inbound +mTLS +POLICY_DENY +0 +[1-9]/m)
      t.match(
        text,
        new RegExp(
          `^inbound +10\\.1\\.0\\.1:\\d+ +${CART_IP.replaceAll('.', '\\.')}:${GREETER_PORT} +mTLS`,
          'm',
        ),
      )
      open.destroy()
    },
  )
}

async function testTap(t: Test, lab: MeshLab): Promise<void> {
  await t.test('a tap tells what opens, closes and is refused; Ctrl-C ends it', async (t) => {
    const [all, refusals] = [
      sidestep(t, lab, ['-o', 'json', 'tap', 'shop/cart']),
      sidestep(t, lab, ['tap', '--peer', 'shop/batch', '--reason', 'POLICY_DENY']),
    ]
    const calls = await poll('the tap is on', async () => {
      const socket = lab.connect('front', CART_IP, GREETER_PORT)
      await socket.until('greeted', ({ text }) => text.endsWith('\r\n'))
      socket.destroy()
      const denied = lab.connect('batch', CART_VIP, 80)
      await denied.until('refused', ({ isClosed }) => isClosed)
      return /opened/.test(all.stdout) && /refused/.test(refusals.stdout) ? 1 : null
    })
    t.equal(calls, 1)
    await poll('its end', () => /"msg":"connection complete"/.test(all.stdout) || null)
    const opened = all.stdout.split('\n').find((line) => /opened/.test(line)) ?? ''
    t.match(JSON.parse(opened), { node: 'n2', pod: 'shop/cart', 'src.workload': 'front' })
    for (const line of refusals.stdout.trim().split('\n'))
      t.match(line, /n2 {2}shop\/cart {2}refused {2}<- {2}spiffe:\S+batch .* POLICY_DENY/)
    for (const { child } of [all, refusals]) {
      child.kill('SIGINT')
      const [code] = await once(child, 'exit')
      t.equal(code, 0)
    }
    const records = await lab.records('n2')
    t.notOk(
      records.some(({ msg }) => msg === 'connection opened'),
      'none of it is in the records',
    )
  })

  await t.test('a reader that stalls costs nobody anything, and is told what it lost', async (t) => {
    const stalled = connect(lab.adminSocket('n1'))
    t.teardown(() => stalled.destroy())
    stalled.write('GET /tap HTTP/1.1\r\n\r\n')
    await once(stalled, 'readable')
    const before = (await lab.records('n1')).length
    const calls = 400
    for (let call = 0; call < calls; call += 20)
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const socket = lab.connect('front', CART_IP, GREETER_PORT)
          await socket.until('greeted', ({ text }) => text.endsWith('\r\n'))
          socket.destroy()
        }),
      )
    await poll('all records', async () => (await lab.records('n1')).length >= before + calls || null)
    let text = ''
    stalled.on('data', (chunk) => {
      text += String(chunk)
    })
    await poll('all events, or how many are lost', () => {
      const lost = /"msg":"events lost","count":(\d+)/.exec(text)?.[1] ?? '0'
      const told = text.split('"msg":"connection opened"').length - 1 + text.split('complete"').length - 1
      return told + Number(lost) >= 2 * calls || null
    })
    t.pass('nothing is missing without being told')
  })
}

async function testCapture(t: Test, lab: MeshLab): Promise<void> {
  await t.test('the payload of a pod, of connections that are open and new ones, as a file', async (t) => {
    const open = lab.connect('front', CART_IP, GREETER_PORT)
    await open.until('greeted', ({ text }) => text.endsWith('\r\n'))
    const out = join(labDirectory(t), 'cart.pcapng')
    const run = sidestep(t, lab, ['capture', 'shop/cart', '--out', out, '--seconds', '60'])
    await poll('it runs', () => /capturing shop\/cart/.test(run.stderr) || null)
    open.write('told while open')
    await open.until('its echo', ({ text }) => text.endsWith('told while open'))
    const fresh = lab.connect('front', CART_VIP, 80)
    fresh.write('GET /secret HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n')
    await fresh.until('answered', ({ text, hasEnded }) => /200 OK/.test(text) && hasEnded)
    fresh.end()
    await poll('all of it', () => {
      const flows = [...readPcapng(readFileSync(out)).flows.values()]
      return flows.filter((each) => each === 'told while open').length === 2 && flows.includes(fresh.text)
        ? 1
        : null
    })
    const { flows } = readPcapng(readFileSync(out))
    t.ok([...flows].some(([key, text]) => />10\.2\.0\.1:8080$/.test(key) && text.startsWith('GET /secret ')))
    run.child.kill('SIGINT')
    const [code] = await once(run.child, 'exit')
    t.equal(code, 0)
    await poll('the audit', () => /"audit":"capture".*payload capture ended/.test(lab.log('n2')) || null)
    t.match(lab.log('n2'), /"audit":"capture","pod":"shop\/cart","uid":"[^"]+","by":"[^"]+@/)
    open.destroy()
  })

  await t.test('a node that does not allow it refuses', async (t) => {
    const out = join(labDirectory(t), 'front.pcapng')
    const run = sidestep(t, lab, ['capture', 'shop/front', '--out', out])
    const [code] = await once(run.child, 'exit')
    t.equal(code, 3)
    t.match(run.stderr, /403 .*SIDESTEP_CAPTURE=true/)
    t.notOk(existsSync(out))
  })
}

t.test('insight', async (t) => {
  const lab = await MeshLab.start(labDirectory(t), labMesh(['batch']), {}, async () => ({
    n1: {},
    n2: { SIDESTEP_CAPTURE: 'true' },
  }))
  t.teardown(() => lab.close())
  await testHistograms(t, lab)
  await testPod(t, lab)
  await testTap(t, lab)
  await testCapture(t, lab)
})
