// SPDX-License-Identifier: Apache-2.0
// What `sidestep capture` writes, opened by Wireshark's own programs; and a reader that stalls, which costs traffic nothing.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { MAX_CAPTURE_UNREAD_BYTES } from '../../ztunnel/capture/captures.ts'
import { BULK_BYTES, bulkHash } from '../support/bulk-pattern.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const CLI = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const [CART_VIP, CART_IP, FRONT_IP] = ['10.96.0.10', '10.2.0.1', '10.1.0.1'] as const
const [MIRROR_PORT, GREETER_PORT, BULK_PORT] = [9000, 9001, 9002] as const
/** More than a window and many segments, less than what fits into a ring: none of it may be lost. */
const MUCH = 'much of it '.repeat(100_000)
/** Rings of two workers, what waits for the reader twice (once as ours, once in the socket), and heaps at work. */
const MAX_GROWTH_KB = 96_000
/** Connections of BULK_BYTES each while the reader stalls: many times what may wait for it. */
const BULKS = 3
const STALLED =
  'GET /capture?pod=shop/cart&by=a-test&seconds=600&bytes=1073741824 HTTP/1.1\r\nhost: node\r\n\r\n'

/** What tshark prints; checksums are verified. */
function tshark(file: string, ...args: readonly string[]): string {
  const checks = ['-o', 'ip.check_checksum:TRUE', '-o', 'tcp.check_checksum:TRUE']
  return execFileSync('tshark', ['-n', '-r', file, ...checks, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH, HOME: '/nonexistent' },
  })
}

/** The packets that hold for a display filter, as the fields asked for. */
function packets(file: string, filter: string, ...fields: readonly string[]): string[][] {
  const wanted = fields.flatMap((field) => ['-e', field])
  const text = tshark(file, ...(filter === '' ? [] : ['-Y', filter]), '-T', 'fields', ...wanted)
  return text === ''
    ? []
    : text
        .trimEnd()
        .split('\n')
        .map((line) => line.split('\t'))
}

/** One bulk connection, read to its end by the client: `<bytes> <sha256>`. */
async function readBulk(lab: MeshLab): Promise<string> {
  const socket = lab.connect('front', CART_IP, BULK_PORT, 'paused')
  await socket.until('connected', ({ isConnected }) => isConnected)
  socket.count()
  await socket.until('all of it', ({ hasEnded }) => hasEnded)
  socket.end()
  await socket.until('its end', ({ isClosed }) => isClosed)
  return socket.text
}

/** Captures cart while there is a request, much in one connection, and one from before; gives the file, and what was said in it. */
async function captureAll(t: Test, lab: MeshLab): Promise<{ readonly out: string; readonly answer: string }> {
  const out = join(lab.directory, 'cart.pcapng')
  const open = lab.connect('front', CART_IP, GREETER_PORT)
  await open.until('greeted', ({ text }) => text.endsWith('\r\n'))
  const args = ['--no-warnings', CLI, '--node', lab.adminSocket('n2'), 'capture', 'shop/cart', '--out', out]
  const run = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  t.teardown(() => run.kill('SIGKILL'))
  let told = ''
  run.stderr.on('data', (chunk) => {
    told += String(chunk)
  })
  await poll('it runs', () => /capturing shop\/cart/.test(told) || null)
  open.write('told while open')
  await open.until('its echo', ({ text }) => text.endsWith('told while open'))
  const fresh = lab.connect('front', CART_VIP, 80)
  fresh.write('GET /secret HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n')
  await fresh.until('answered', ({ text, hasEnded }) => /200 OK/.test(text) && hasEnded)
  fresh.end()
  await fresh.until('its end', ({ isClosed }) => isClosed)
  const much = lab.connect('front', CART_IP, MIRROR_PORT)
  much.write(MUCH)
  much.end()
  await much.until('all of it again', ({ isClosed }) => isClosed)
  t.ok(much.text === MUCH)
  await poll('all of it is in the file', () => statSync(out).size > 2 * MUCH.length || null)
  open.destroy()
  await poll(
    'the ends are in the file',
    () => packets(out, 'tcp.flags.fin == 1', 'frame.number').length === 6 || null,
  )
  run.kill('SIGINT')
  await once(run, 'exit')
  return { out, answer: fresh.text }
}

/** The first packets that Wireshark takes for malformed or wrong, or warns of. */
function complaints(file: string): string[][] {
  const wrong = '_ws.malformed || ip.checksum.status != "Good" || tcp.checksum.status != "Good"'
  const suspicious = '_ws.expert.severity == "Warning" || _ws.expert.severity == "Error"'
  return [wrong, suspicious].flatMap((filter) =>
    packets(file, filter, 'frame.number', '_ws.expert.message', '_ws.col.Info').slice(0, 5),
  )
}

async function testFile(t: Test, lab: MeshLab): Promise<void> {
  const startSeconds = Date.now() / 1000
  const { out, answer } = await captureAll(t, lab)
  const endSeconds = Date.now() / 1000

  await t.test('Wireshark finds nothing wrong with any packet', async (t) => {
    const all = packets(out, '', 'frame.time_epoch', 'frame.interface_name', 'frame.len')
    t.ok(all.length > (2 * MUCH.length) / 65_535, `${all.length} packets`)
    t.same(complaints(out), [])
    t.same([...new Set(all.map(([, name]) => name))], ['shop/cart'], 'the pod is the interface')
    const times = all.map(([time]) => Number(time))
    t.ok(
      times.every((each) => each >= startSeconds && each <= endSeconds),
      `from ${times[0]} to ${times.at(-1)}, test from ${startSeconds} to ${endSeconds}`,
    )
  })

  await t.test('and would find it: a byte is changed', async (t) => {
    const bytes = readFileSync(out)
    bytes.write('X', bytes.indexOf('GET /secret'))
    const broken = join(lab.directory, 'broken.pcapng')
    writeFileSync(broken, bytes)
    const found = complaints(broken)
    t.equal(found.length, 2, 'by both filters')
    t.equal(found[0]?.[0], found[1]?.[0], 'the same packet')
    t.match(found[1]?.[1], /checksum/i)
  })

  await t.test('following a stream shows what was said, in clear text', async (t) => {
    const [first] = packets(
      out,
      'http.request.uri == "/secret"',
      'tcp.stream',
      'ip.src',
      'ip.dst',
      'tcp.dstport',
    )
    const [stream = '', ...ends] = first ?? []
    t.same(ends, [FRONT_IP, CART_IP, '8080'])
    const said = tshark(out, '-q', '-z', `follow,tcp,ascii,${stream}`)
    t.match(said, /^GET \/secret HTTP\/1\.1\r?$/m)
    t.match(said, /^HTTP\/1\.1 200 OK\r?$/m)
    t.match(said, new RegExp(`${answer.split('\r\n').at(-1)}`), 'to the last line of it')
    t.same(packets(out, `http.response && tcp.stream == ${stream}`, 'http.response.code'), [['200']])
    const flags = packets(
      out,
      `tcp.stream == ${stream} && (tcp.flags.syn == 1 || tcp.flags.fin == 1)`,
      'frame.number',
    )
    t.equal(flags.length, 4, 'from its handshake to its ends')
  })

  await t.test('much is there to the last byte, both ways', async (t) => {
    for (const direction of ['dstport', 'srcport']) {
      const sent = packets(out, `tcp.${direction} == ${MIRROR_PORT} && tcp.len > 0`, 'tcp.len')
      t.equal(
        sent.reduce((sum, [bytes]) => sum + Number(bytes), 0),
        MUCH.length,
      )
    }
  })
}

const residentKb = (pid: number, what: 'VmRSS' | 'VmHWM'): number =>
  Number(
    new RegExp(`^${what}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ??
      Number.NaN,
  )

async function testStalled(t: Test, lab: MeshLab): Promise<void> {
  await t.test('a reader that stalls loses packets; traffic goes on, and memory is bounded', async (t) => {
    const [pid = -1] = lab.dataPids('n2')
    await readBulk(lab)
    const beforeKb = residentKb(pid, 'VmHWM')
    const stalled = connect(lab.adminSocket('n2'))
    t.teardown(() => stalled.destroy())
    stalled.write(STALLED)
    await once(stalled, 'readable')
    for (let count = 0; count < BULKS; count++)
      t.equal(
        await readBulk(lab),
        `${BULK_BYTES} ${bulkHash()}`,
        'nothing is missing from what the client reads',
      )
    const growthKb = residentKb(pid, 'VmHWM') - beforeKb
    t.ok(growthKb <= MAX_GROWTH_KB, `the data process has grown by ${growthKb} KB at most`)
    t.same(lab.dataPids('n2'), [pid])
    stalled.destroy()
    const line = await poll('the audit', () => {
      const ended = /.*"by":"a-test".*payload capture ended.*/.exec(lab.log('n2'))
      return ended === null ? null : ended[0]
    })
    const { bytes, lost } = JSON.parse(line) as { bytes: number; lost: number } // as: our log
    t.comment(`${growthKb} KB, ${bytes} bytes written, ${lost} frames lost`)
    t.ok(lost > 0, 'and it is told')
    t.ok(bytes >= MAX_CAPTURE_UNREAD_BYTES, 'what may wait did')
    t.ok(bytes < BULK_BYTES, 'the rest was not kept')
  })
}

t.setTimeout(240_000)
t.test('captures', { timeout: 220_000 }, async (t) => {
  const lab = await MeshLab.start(labDirectory(t), labMesh([]), {}, async () => ({
    n1: {},
    n2: { SIDESTEP_CAPTURE: 'true' },
  }))
  t.teardown(() => lab.close())
  await testFile(t, lab)
  await testStalled(t, lab)
})
