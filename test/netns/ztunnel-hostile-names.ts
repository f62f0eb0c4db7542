// SPDX-License-Identifier: Apache-2.0
// Names that want to be more than names: they move a terminal's cursor, begin new lines, turn the direction of writing, end
// a JSON string or a label, or are very long. They come by configuration, enrolment and peers, through real nodes, into
// everything that shows them: no output of the command line has what a terminal obeys, and JSON and metrics stay readable.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { TestAuthority } from '../support/certificates.ts'
import { nodeHello } from '../support/client-hellos.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabNode, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import {
  END_HEADERS,
  FRAME_TYPE,
  frame,
  literals,
  PREFACE,
  TunnelAttacker,
} from '../support/tunnel-attacker.ts'

const CLI = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const [CART_IP, CART_VIP, STRANGER_IP] = ['10.2.0.1', '10.96.0.10', '10.1.0.3'] as const
const [GREETER_PORT, HBONE_PORT] = [9001, 15_008] as const
const FRONT = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'front' }
/** Part of every name, so that it is seen where names are shown at all. */
const MARK = 'hostile'
const NAME = `${MARK}\u001b]0;title\u0007\u001b[2J\u009b31m\r\nfix  run this\t\u202egnp\u2066\u200b"}\\${'x'.repeat(3000)}`
/** What a header field may bring: bytes, no line breaks. */
const FIELD = Buffer.from(NAME.replace(/[\r\n]/g, ''), 'utf8')
  .toString('latin1')
  .slice(0, 800)
// Controls and format characters, but for the line breaks that rows end with.
const OBEYED = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u
// SPEC OpenMetrics 1.0 §4: a name, labels whose values escape quote, backslash and newline, a number.
const SAMPLE = /^[a-zA-Z_:][\w:]*(\{(\w+="([^"\\\n]|\\["\\n])*",?)*\})? (NaN|[+-]?Inf|-?[\d.eE+-]+)$/
const COMMENT = /^# (TYPE|HELP|UNIT) [a-zA-Z_:][\w:]* |^# EOF$/

t.setTimeout(300_000)

/** YAML takes what JSON escapes. */
const text = JSON.stringify

/** Bad wherever the file takes it; workloads' own names are checked, so `badName` makes a file that is refused. */
function hostileMesh(badName = 'batch'): string {
  const fields = ['workloadName', 'canonicalName', 'canonicalRevision', 'clusterId']
  const bad = fields.map((field) => `${field}: ${text(NAME)}`).join(', ')
  const workload = (name: string, account: string, ip: string, protocol: string): string =>
    `- {uid: ${text(`${account} ${NAME}`)}, name: ${text(name)}, namespace: shop, serviceAccount: ${account}, ` +
    `trustDomain: cluster.local, workloadIps: ["${ip}"], protocol: ${protocol}, node: n1, services: {}, ` +
    `locality: {region: ${text(NAME)}, zone: ${text(NAME)}, subzone: ${text(NAME)}}, ${bad}}\n`
  const policy =
    `- {name: ${text(NAME)}, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ` +
    'rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/batch]}]]]}\n'
  return labMesh([])
    .replace(/^- \{uid: batch.*\n/m, workload(badName, 'batch', '10.1.0.2', 'HBONE'))
    .replace('services:\n', `${workload('outside', 'outside', STRANGER_IP, 'TCP')}services:\n`)
    .replace('- {name: cart, namespace', `- {name: ${text(NAME)}, namespace`)
    .replace(/policies:\n$/, `policies:\n${policy}`)
}

/** `sidestep` as a process of its own. */
function sidestep(lab: MeshLab, args: readonly string[]) {
  const nodes = (['n1', 'n2'] as const).flatMap((node) => ['--node', lab.adminSocket(node)])
  const child = spawn(process.execPath, ['--no-warnings', CLI, ...nodes, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const run = { child, stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    run.stdout += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    run.stderr += chunk
  })
  return run
}

/** Every output: nothing that a terminal obeys; with `-o json` values that can be read. */
function assertTame(t: Test, what: string, stdout: string, stderr: string, isJson: boolean): void {
  t.equal(OBEYED.exec(stdout)?.[0], undefined, `${what}: its result`)
  t.equal(OBEYED.exec(stderr)?.[0], undefined, `${what}: its talk`)
  if (isJson && stdout !== '') t.doesNotThrow(() => JSON.parse(stdout), `${what}: JSON`)
}

async function testCommands(t: Test, lab: MeshLab): Promise<void> {
  let marked = 0
  const commands = [
    ['ps'],
    ['ps', 'cart'],
    ['ps', `shop/${NAME.slice(0, 200)}`],
    ['conns'],
    ['certs'],
    ['edges'],
    ['drain', 'status'],
    ['version'],
    ['why', 'front', CART_VIP],
    ['why', 'front', STRANGER_IP],
    ['why', 'batch', `${CART_IP}:${GREETER_PORT}`],
    ['why', NAME.slice(0, 200), `${NAME.slice(0, 200)}:80`],
  ]
  for (const command of commands) {
    for (const format of ['table', 'json']) {
      const run = sidestep(lab, ['-o', format, ...command])
      await once(run.child, 'close')
      const what = `${format} ${command.map((word) => word.slice(0, 12).replace(/\W/g, '.')).join(' ')}`
      assertTame(t, what, run.stdout, run.stderr, format === 'json')
      t.ok(run.stdout !== '' || run.stderr !== '', `${what}: says something`)
      if (run.stdout.includes(MARK)) marked++
    }
  }
  t.comment(`${marked} of ${2 * commands.length} results show such a name`)
  t.ok(marked > commands.length / 2, 'they do show such names')
}

/** A call of the enrolled pod with the bad name, refused by the policy with it, and one to where its like is. */
async function callSome(lab: MeshLab): Promise<void> {
  const denied = lab.connect('batch', CART_IP, GREETER_PORT)
  await denied.until('refused', ({ isClosed }) => isClosed)
  const outside = lab.connect('front', STRANGER_IP, GREETER_PORT)
  await outside.until('greeted', ({ text }) => text.endsWith('\r\n'))
  outside.destroy()
}

/** A peer with a good certificate, and bad words: in what it asks for, who it says it is, and before that. */
async function speakBadly(lab: MeshLab): Promise<void> {
  const authority = await TestAuthority.load(await lab.rootPem())
  const raw = lab.connect('stranger', CART_IP, HBONE_PORT)
  await raw.until('connected', ({ isConnected }) => isConnected)
  const attacker = new TunnelAttacker(raw, await authority.sign(FRONT))
  await poll('secure', () => attacker.isSecure || null)
  const ask = (stream: number, target: string): Buffer => {
    const baggage = `k8s.cluster.name=${FIELD},k8s.namespace.name=${FIELD},k8s.deployment.name=${FIELD},service.name=${FIELD}`
    const fields = {
      ':method': 'CONNECT',
      ':authority': target,
      baggage,
      forwarded: `for=${FIELD}`,
      traceparent: FIELD,
    }
    return frame(FRAME_TYPE.HEADERS, END_HEADERS, stream, literals(fields))
  }
  const settings = frame(FRAME_TYPE.SETTINGS, 0, 0, Buffer.alloc(0))
  attacker.tls.write(Buffer.concat([Buffer.from(PREFACE), settings]))
  attacker.tls.write(ask(1, `${CART_IP}:${GREETER_PORT}`))
  attacker.tls.write(ask(3, `${FIELD.slice(0, 200)}:80`))
  await poll('answers or an end', () => {
    const answered = attacker.frames().filter(({ type }) => type === FRAME_TYPE.HEADERS)
    return answered.length >= 2 || attacker.isClosed || null
  })
  attacker.destroy()
  const greeting = lab.connect('stranger', CART_IP, HBONE_PORT)
  greeting.write(
    (await nodeHello({ servername: FIELD.slice(0, 200), ALPNProtocols: ['h2', '\u001b[2J'] })).toString(
      'latin1',
    ),
  )
  await greeting.until('connected', ({ isConnected }) => isConnected)
  greeting.destroy()
}

async function testFiles(t: Test, lab: MeshLab, node: LabNode): Promise<void> {
  const { text: metrics } = await lab.admin(node, '/metrics')
  const lines = metrics.trimEnd().split('\n')
  t.same(
    lines.filter((line) => !SAMPLE.test(line) && !COMMENT.test(line)).map((line) => line.slice(0, 300)),
    [],
    `${node}: metrics can be read`,
  )
  t.ok(metrics.includes(MARK), 'and name them')
  for (const file of [`${node}.log`, join('records', node)]) {
    const entries = readFileSync(join(lab.directory, file), 'utf8').trimEnd().split('\n')
    for (const entry of entries) {
      try {
        JSON.parse(entry)
      } catch {
        t.fail(`${file}: ${JSON.stringify(entry.slice(0, 300))}`)
      }
    }
    const longest = Math.max(
      ...entries.filter((entry) => entry.includes('"reason"')).map(({ length }) => length),
    )
    t.ok(longest < 20_000, `${file}: its longest line about what happened has ${longest} characters`)
  }
}

t.test('hostile names through real nodes', { timeout: 290_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), hostileMesh(), {}, async (lab) => {
    lab.serving = ['cart', 'stranger']
    return { n1: {}, n2: {} }
  })
  t.teardown(() => lab.close())
  const taps = [sidestep(lab, ['tap']), sidestep(lab, ['-o', 'json', 'tap'])]
  t.teardown(() => taps.forEach(({ child }) => void child.kill('SIGKILL')))
  await poll('taps see them', async () => {
    await callSome(lab)
    return taps.every(({ stdout }) => stdout.includes(MARK)) || null
  })
  await speakBadly(lab)
  await callSome(lab)
  const open = lab.connect('front', STRANGER_IP, GREETER_PORT)
  await open.until('greeted', ({ text }) => text.endsWith('\r\n'))

  await testCommands(t, lab)
  await lab.configure(hostileMesh(NAME))
  await poll(
    'a file with a bad name is refused',
    () => /"reason":"CONFIG_INVALID"/.test(lab.log('n1')) || null,
  )
  for (const { child } of taps) child.kill('SIGINT')
  await Promise.all(taps.map(({ child }) => child.exitCode ?? once(child, 'close')))
  for (const [index, { stdout, stderr }] of taps.entries()) {
    assertTame(t, 'tap', stdout, stderr, false)
    if (index === 1) for (const line of stdout.trimEnd().split('\n')) JSON.parse(line)
  }
  for (const node of ['n1', 'n2'] as const) await testFiles(t, lab, node)
  t.equal(lab.dataPids('n1').length + lab.dataPids('n2').length, 2)
  const answered = lab.connect('front', CART_IP, GREETER_PORT)
  await answered.until('greeted', ({ text }) => text.endsWith('\r\n'))
})
