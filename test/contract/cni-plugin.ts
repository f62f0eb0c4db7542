// SPDX-License-Identifier: Apache-2.0
// The CNI plugin against the CNI specification, in the shells that nodes have, with the agent's own spool behind it.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { systemClock } from '../../mesh/runtime/clock.ts'
import type { CniRequest } from '../../ztunnel/supervisor/enroll/cni/cni-request.ts'
import { type Admission, CniSpool } from '../../ztunnel/supervisor/enroll/cni/cni-spool.ts'
import { callCni, cniShells } from '../support/cni-call.ts'

t.setTimeout(90_000)
const UID = '0a1b2c3d-0000-4000-8000-0123456789ab'
const ARGS = `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_INFRA_CONTAINER_ID=f0;K8S_POD_UID=${UID}`
const RESULT =
  '{ "cniVersion":"1.0.0", "ips":[{"address":"10.1.0.2/24"}],\n\t"dns":{"domain":"}]\\"{[,:\\\\"},"é":"\\u00e9" }'
const NO_CPU_MS = 4_000 // what a loaded machine may need for what takes no time

const shells = cniShells(t.testdir({}))

function openLab(t: Test, name: string) {
  const directory = join(t.testdir({}), 'spool')
  mkdirSync(directory)
  const requests: CniRequest[] = []
  const late: CniRequest[] = []
  const start = (admit: (request: CniRequest) => Admission | Promise<Admission>): CniSpool => {
    const spool = new CniSpool({
      ...{ directory, clock: systemClock, log: pino({ level: 'silent' }) },
      admit: async (request) => {
        requests.push(request)
        return await admit(request)
      },
      onLate: (request) => late.push(request),
    })
    spool.start()
    t.teardown(() => spool.stop())
    return spool
  }
  /** The uptime of the node, with an offset in seconds. */
  const beat = (offsetSeconds = 0): void => {
    const [uptime = ''] = readFileSync('/proc/uptime', 'latin1').split(' ')
    writeFileSync(join(directory, 'alive'), `${(Number(uptime) + offsetSeconds).toFixed(2)} 1\n`)
  }
  const configure = (fields: Readonly<Record<string, unknown>> = {}, result = RESULT): string => {
    const own = {
      ...{ cniVersion: '1.0.0', name: 'lab', type: 'sidestep-cni', spool: directory },
      bootSeconds: 0, // the machine of the tests may have just started
      ...fields,
    }
    const text = JSON.stringify({ runtimeConfig: { a: ['}', '"prevResult":{}'] }, ...own })
    return result === '' ? text : `${text.slice(0, -1)},\n "prevResult" : ${result} }\n`
  }
  const shell = shells.find((each) => each.name === name) ?? { command: [], path: '' }
  const call = async (
    command: string,
    configuration = configure(),
    environment: Readonly<Record<string, string>> = {},
  ) =>
    await callCni(shell, configuration, {
      ...{
        CNI_COMMAND: command,
        CNI_CONTAINERID: 'c0ffee',
        CNI_NETNS: '/run/netns/cni-1',
        CNI_IFNAME: 'eth0',
      },
      ...{ CNI_PATH: '/opt/cni/bin', CNI_ARGS: ARGS },
      ...environment,
    })
  const list = (): readonly string[] =>
    readdirSync(directory)
      .filter((each) => each !== 'alive')
      .toSorted()
  return { directory, requests, late, start, beat, configure, call, list }
}
const DONE: Admission = { kind: 'done', isEnrolled: true }

for (const { name } of shells) {
  t.test(`${name}: a pod that stands goes on with what was made before, unchanged`, async (t) => {
    const { start, call, requests, list } = openLab(t, name)
    start(() => DONE)
    const { status, stdout, stderr } = await call('ADD')
    t.same({ status, stdout, stderr }, { status: 0, stdout: `${RESULT}\n`, stderr: '' })
    t.same(requests, [{ pod: { namespace: 'shop', name: 'cart', uid: UID }, netns: '/run/netns/cni-1' }])
    t.same(list(), [], 'nothing is left')
  })

  t.test(`${name}: it waits for the answer`, async (t) => {
    const { start, call, requests } = openLab(t, name)
    const { promise, resolve } = Promise.withResolvers<Admission>()
    start(() => promise)
    let isOver = false
    const called = call('ADD', undefined).finally(() => {
      isOver = true
    })
    while (requests.length === 0) await new Promise((wake) => setImmediate(wake))
    t.equal(isOver, false)
    resolve(DONE)
    t.match(await called, { status: 0, stdout: `${RESULT}\n` })
  })

  t.test(`${name}: whatever the result is, it is the result`, async (t) => {
    const { start, call, configure } = openLab(t, name)
    start(() => DONE)
    const result = fc.tuple(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom(0, 2, '\t'))
    await fc.assert(
      fc.asyncProperty(
        result,
        fc.dictionary(fc.string(), fc.jsonValue()),
        async ([value, indent], fields) => {
          const {
            cniVersion: _,
            spool: __,
            timeoutMs: ___,
            onTimeout: ____,
            prevResult: _____,
            bootSeconds: ______,
            ...others
          } = fields
          const text = JSON.stringify(value, null, indent)
          const { status, stdout } = await call('ADD', configure(others, text))
          return status === 0 && stdout === `${text}\n`
        },
      ),
      { numRuns: 40 },
    )
  })

  t.test(`${name}: without an agent nobody waits; the pod is remembered for when there is one`, async (t) => {
    const { call, configure, start, list, late, beat } = openLab(t, name)
    const unhurried = configure({ timeoutMs: 60_000 })
    for (const offset of [null, -3600, 3600]) {
      if (offset !== null) beat(offset)
      const { status, stdout, tookMs } = await call('ADD', unhurried)
      t.same({ status, stdout }, { status: 0, stdout: `${RESULT}\n` })
      t.ok(tookMs < NO_CPU_MS, `${tookMs} ms`)
      t.same(list(), ['c0ffee.late'])
    }
    start(() => DONE)
    while (list().length > 0) await new Promise((wake) => setImmediate(wake))
    t.match(late, [{ pod: { name: 'cart', uid: UID } }])
  })

  t.test(`${name}: an agent that ends while it waits is not waited for`, async (t) => {
    const { call, configure, start, requests, list } = openLab(t, name)
    const spool = start(() => new Promise(() => {}))
    const called = call('ADD', configure({ timeoutMs: 60_000 }))
    while (requests.length === 0) await new Promise((wake) => setImmediate(wake))
    spool.stop()
    const { status, tookMs } = await called
    t.equal(status, 0)
    t.ok(tookMs < NO_CPU_MS, `${tookMs} ms`)
    t.same(list(), ['c0ffee.late'])
  })

  t.test(`${name}: a late answer is waited for as long as is said, and no longer`, async (t) => {
    const { call, configure, start, list } = openLab(t, name)
    start(() => new Promise(() => {}))
    const { status, stdout, tookMs } = await call('ADD', configure({ timeoutMs: 300 }))
    t.same({ status, stdout }, { status: 0, stdout: `${RESULT}\n` })
    t.ok(tookMs >= 290 && tookMs < NO_CPU_MS, `${tookMs} ms`)
    t.same(list(), ['c0ffee.late'])
  })

  t.test(`${name}: with retry, a pod that is not enrolled does not start`, async (t) => {
    const { call, configure, start, list } = openLab(t, name)
    const retry = { onTimeout: 'retry', timeoutMs: 100, alwaysStart: 'istio-system,kube-system' }
    const told = async (environment = {}) => {
      const { status, stdout } = await call('ADD', configure(retry), environment)
      return { status, error: JSON.parse(stdout) }
    }
    // SPEC CNI "Error": 11 is "try again later".
    t.match(await told(), {
      status: 1,
      error: { cniVersion: '1.0.0', code: 11, msg: /no ztunnel runs/ },
    })
    let answer: Admission = { kind: 'failed', code: 'NETLINK' }
    const spool = start(() => answer)
    t.match(await told(), { status: 1, error: { code: 11, msg: /NETLINK/ } })
    t.same(list(), [])
    answer = DONE
    t.match(await told(), { status: 0, error: { ips: [{ address: '10.1.0.2/24' }] } })
    spool.stop()
    // The ztunnel itself is a pod of the node.
    t.match(await told({ CNI_ARGS: ARGS.replace('=shop', '=istio-system') }), { status: 0 })
    for (const other of ['=istio-system2', '=istio', '=', '=istio-system,kube-system'])
      t.match(await told({ CNI_ARGS: ARGS.replace('=shop', other) }), { status: 1 }, other)
  })

  t.test(
    `${name}: on a node that has just started a pod waits for its ztunnel, then is refused`,
    async (t) => {
      const { call, configure, start, list, beat } = openLab(t, name)
      const uptimeSeconds = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0])
      const booting = {
        bootSeconds: Math.ceil(uptimeSeconds) + 3600,
        alwaysStart: 'istio-system,kube-system',
      }
      const told = async (fields: object, environment = {}) => {
        const { status, stdout, tookMs } = await call(
          'ADD',
          configure({ ...booting, ...fields }),
          environment,
        )
        return { status, error: JSON.parse(stdout), tookMs }
      }
      // What the agent wrote before the boot does not count, nor does one that wrote after it and has ended.
      for (const offset of [null, 3600, -60]) {
        if (offset !== null) beat(offset)
        const { tookMs, ...refused } = await told({ timeoutMs: 300 })
        t.match(refused, { status: 1, error: { code: 11, msg: /no ztunnel runs/ } }, `${offset}`)
        t.ok(tookMs >= 290 && tookMs < NO_CPU_MS, `${tookMs} ms`)
        t.same(list(), [], 'it is not late: it has not started')
      }
      for (const [what, args] of [
        ['the ztunnel itself', ARGS.replace('=shop', '=istio-system')],
        ['names of the cluster', ARGS.replace('=shop', '=kube-system')],
        ['what is no pod', 'IgnoreUnknown=1'],
        ['what is no pod', 'K8S_POD_NAMESPACE=;K8S_POD_NAME=x'],
      ] as const) {
        const { status, tookMs } = await told(
          { timeoutMs: 60_000 },
          { CNI_ARGS: args, CNI_CONTAINERID: 'other' },
        )
        t.equal(status, 0, what)
        t.ok(tookMs < NO_CPU_MS, `${what} does not wait: ${tookMs} ms`)
      }
      const waiting = told({ timeoutMs: 60_000 })
      start(() => DONE)
      t.match(await waiting, { status: 0, error: { ips: [{ address: '10.1.0.2/24' }] } })
    },
  )

  t.test(`${name}: the time after a start has an end`, async (t) => {
    const { call, configure, start } = openLab(t, name)
    const [uptime = ''] = readFileSync('/proc/uptime', 'latin1').split(' ')
    const bootSeconds = Math.floor(Number(uptime)) - 1
    t.match(await call('ADD', configure({ bootSeconds, timeoutMs: 60_000 })), {
      status: 0,
      stdout: `${RESULT}\n`,
    })
    start(() => ({ kind: 'failed', code: 'NETLINK' }))
    t.match(await call('ADD', configure({ bootSeconds })), { status: 0, stdout: `${RESULT}\n` })
    const { status, stdout } = await call('ADD', configure({ bootSeconds: bootSeconds + 3600 }))
    t.match({ status, ...JSON.parse(stdout) }, { status: 1, code: 11, msg: /NETLINK/ })
    for (const [index, nonsense] of ['-1', '"x"', '1e9', '{}', '99999999999', '"\\n"'].entries()) {
      const configuration = configure().replace('"bootSeconds":0', `"bootSeconds":${nonsense}`)
      const outcome = await call('ADD', configuration, { CNI_CONTAINERID: `c${index}` })
      t.equal(outcome.stderr, '', nonsense)
    }
  })

  t.test(`${name}: a failure to enrol lets the pod start, and is remembered`, async (t) => {
    const { call, start, late } = openLab(t, name)
    start(() => ({ kind: 'failed', code: 'NETLINK' }))
    t.match(await call('ADD'), { status: 0, stdout: `${RESULT}\n` })
    while (late.length === 0) await new Promise((wake) => setImmediate(wake))
    t.equal(late.length, 1)
  })

  t.test(`${name}: arguments of all kinds reach the agent as they are, or as none`, async (t) => {
    const { call, start, requests } = openLab(t, name)
    start(() => DONE)
    for (const args of ['', 'a=b\nargs=K8S_POD_NAME=x', '$(touch x);`touch x`', '%s%n', '-n', '*'])
      t.match(await call('ADD', undefined, { CNI_ARGS: args }), { status: 0, stdout: `${RESULT}\n` }, args)
    t.same(requests, [])
  })

  t.test(`${name}: what makes no sense is an error of the specification`, async (t) => {
    const { call, configure, list, start } = openLab(t, name)
    start(() => DONE)
    const bad: readonly (readonly [string, string, Readonly<Record<string, string>>, number])[] = [
      ['ADD', configure({}, ''), {}, 7],
      ['ADD', configure({}, '"text"'), {}, 7],
      ['ADD', configure({}, '{"a":'), {}, 7],
      ['ADD', configure({ spool: '' }), {}, 7],
      ['ADD', configure({ spool: 'relative' }), {}, 7],
      ['ADD', configure({ spool: '/a b' }), {}, 7],
      ['ADD', configure({ spool: '/a"$(touch x)' }), {}, 7],
      ['ADD', '', {}, 7],
      ['ADD', 'no JSON at all', {}, 7],
      ['ADD', configure(), { CNI_NETNS: '' }, 4],
      ['ADD', configure(), { CNI_CONTAINERID: '' }, 4],
      ['ADD', configure(), { CNI_CONTAINERID: '../../etc/passwd' }, 4],
      ['ADD', configure(), { CNI_CONTAINERID: '.hidden' }, 4],
      ['ADD', configure(), { CNI_CONTAINERID: 'a'.repeat(129) }, 4],
      ['', configure(), {}, 4],
      ['NONSENSE', configure(), {}, 4],
    ]
    for (const [command, configuration, environment, code] of bad) {
      const { status, stdout } = await call(command, configuration, environment)
      t.match(
        { status, ...JSON.parse(stdout) },
        { status: 1, code, msg: /^sidestep-cni: / },
        `${command} ${configuration}`,
      )
    }
    t.same(list(), [])
  })

  t.test(`${name}: VERSION, and what there is nothing to do for`, async (t) => {
    const { call, configure } = openLab(t, name)
    const { status, stdout } = await call('VERSION', '{"cniVersion":"0.4.0"}')
    t.same(
      [status, JSON.parse(stdout)],
      [0, { cniVersion: '0.4.0', supportedVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] }],
    )
    for (const command of ['CHECK', 'GC', 'STATUS'])
      t.match(await call(command), { status: 0, stdout: '' }, command)
    t.match(await call('CHECK', configure({}, '')), { status: 0, stdout: '' })
  })

  t.test(`${name}: DEL takes away what is left of the pod, and never fails`, async (t) => {
    const { call, configure, directory, list } = openLab(t, name)
    for (const file of ['c0ffee.request', 'c0ffee.answer', 'c0ffee.late', 'other.late'])
      writeFileSync(join(directory, file), '')
    t.match(await call('DEL'), { status: 0, stdout: '', stderr: '' })
    t.same(list(), ['other.late'])
    for (const configuration of ['', 'garbage', configure({ spool: '/nonexistent' }), configure({}, '')])
      for (const environment of [{}, { CNI_CONTAINERID: '' }, { CNI_NETNS: '' }, { CNI_CONTAINERID: '../x' }])
        t.match(await call('DEL', configuration, environment), { status: 0, stdout: '' }, configuration)
    t.same(list(), ['other.late'])
  })

  t.test(`${name}: a spool that is gone or full keeps no pod from starting`, async (t) => {
    const { call, configure, directory, beat } = openLab(t, name)
    t.match(await call('ADD', configure({ spool: '/nonexistent/spool' })), {
      status: 0,
      stdout: `${RESULT}\n`,
    })
    beat()
    // Nothing can be written under this name, not even by root.
    mkdirSync(join(directory, 'c0ffee.tmp'))
    t.match(await call('ADD', configure({ timeoutMs: 60_000 })), { status: 0, stdout: `${RESULT}\n` })
    t.equal(existsSync(join(directory, 'c0ffee.request')), false)
  })
}

t.test('the script is clean for shellcheck', async (t) => {
  const plugin = join(import.meta.dirname, '..', '..', 'cni', 'sidestep-cni')
  const { status, stdout } = spawnSync('shellcheck', [plugin], { encoding: 'utf8' })
  t.equal(stdout, '')
  t.equal(status, 0)
})
