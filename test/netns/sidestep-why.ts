// SPDX-License-Identifier: Apache-2.0
// `sidestep why` about two real nodes: faults are made one at a time, and the command has to name code, hop and fix of each.
// Of pairs that are well it blames nothing. Only the command itself is asked, as a process, from outside.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import dnsPacket from 'dns-packet'
import t, { type Test } from 'tap'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { attempt, blames, configure, isWell, nodesOf, seen, sidestep, why } from '../support/ask-why.ts'
import { TestClient, TestResolver } from '../support/dns-lab.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

t.setTimeout(420_000)

const CART_VIP = '10.96.0.10'
const CART_IP = '10.2.0.1'
const STRANGER_IP = '10.1.0.3'
const CART_HOST = 'cart.shop.svc.cluster.local'
const GOOD = labMesh(['batch'])

function nft(namespace: NetworkNamespace, command: string): void {
  namespace.run(() => execFileSync('nft', [command]))
}

async function testTraffic(t: Test, lab: MeshLab): Promise<void> {
  await t.test('a pair that is well is not blamed, by whatever name it is called', async (t) => {
    await isWell(t, lab, 'shop/front', `${CART_HOST}:80`)
    await attempt(lab, 'front', CART_VIP, 80)
    for (const name of ['cart', 'cart.shop', 'shop/cart:80', `${CART_VIP}:80`, `${CART_IP}:8080`])
      await isWell(t, lab, 'front', name)
    await isWell(t, lab, '10.1.0.1', `${CART_HOST}:80`)
  })

  await t.test('a policy that only the destination has', async (t) => {
    await blames(
      t,
      lab,
      ['batch', 'cart:80'],
      { outcome: 'refused', code: 'POLICY_DENY', policy: 'shop/no-batch' },
      'destination',
      /change shop\/no-batch/,
    )
  })

  await t.test('a port without an application, also before anybody has tried', async (t) => {
    const fault = { outcome: 'refused', code: 'ENDPOINT_REFUSED' } as const
    for (const _ of ['untried', 'tried']) {
      await blames(t, lab, ['front', `${CART_IP}:9999`], fault, 'application', /start the application/)
      await attempt(lab, 'front', CART_IP, 9999)
    }
    await isWell(t, lab, 'front', `${CART_IP}:8080`)
  })

  await t.test('an application that listens for its own pod alone', async (t) => {
    const program = "require('node:net').createServer().listen(7777, '127.0.0.1')"
    const child = lab.namespaceOf('cart').run(() => spawn(process.execPath, ['-e', program]))
    t.teardown(() => child.kill('SIGKILL'))
    await poll('it listens', async () => {
      const { cause } = await why(lab, 'front', `${CART_IP}:7777`)
      return /loopback only/.test(cause?.detail ?? '') || null
    })
    const fault = { outcome: 'refused', code: 'ENDPOINT_REFUSED' } as const
    await blames(t, lab, ['front', `${CART_IP}:7777`], fault, 'application', /on all addresses/)
  })

  await t.test('a port that the service does not have', async (t) => {
    await blames(
      t,
      lab,
      ['front', 'cart:81'],
      { outcome: 'refused', code: 'NO_SUCH_PORT' },
      'destination',
      /add the port/,
    )
  })

  await t.test('a name that nobody has', async (t) => {
    await blames(
      t,
      lab,
      ['front', 'carr:80'],
      { outcome: 'refused', code: 'HOSTNAME_UNKNOWN' },
      'name',
      /correct the name/,
    )
    const outside = await why(lab, 'front', 'example.com:443')
    t.match(outside, { exit: 0, outcome: 'plain', cause: null, way: /resolver of the pod/ })
  })

  await t.test('a resolver that does not answer, until one does', async (t) => {
    const client = await TestClient.start(t, lab.namespaceOf('front'))
    const name = 'example.com'
    const question = dnsPacket.encode({ type: 'query', id: 7, questions: [{ type: 'A', name }] })
    const ask = async (): Promise<unknown> => await client.ask('udp', STRANGER_IP, [question])
    await ask()
    await seen(lab, 'front', `${name}:443`, 'DNS_UPSTREAM')
    const fault = { outcome: 'failing', code: 'DNS_UPSTREAM' } as const
    await blames(t, lab, ['front', `${name}:443`], fault, 'name', /resolv\.conf/)
    await isWell(t, lab, 'front', 'cart:80')
    t.match(await why(lab, 'batch', `${name}:443`), { exit: 0, cause: null })
    const resolver = await TestResolver.start(t, lab.namespaceOf('stranger'))
    await poll('it is believed again', async () => {
      await ask()
      return (await why(lab, 'front', `${name}:443`)).cause === null || null
    })
    await resolver.stop()
  })

  await t.test('a caller that nobody knows', async (t) => {
    await blames(
      t,
      lab,
      ['nobody', 'cart:80'],
      { outcome: 'unknown', code: 'WORKLOAD_UNKNOWN' },
      'source',
      /check the name/,
    )
  })
}

const codeIs =
  (lab: MeshLab, source: string, destination: string, code: string) => async (): Promise<boolean> =>
    (await why(lab, source, destination)).code === code

async function testWaypoints(t: Test, lab: MeshLab): Promise<void> {
  await t.test('a waypoint that is not there', async (t) => {
    const missing = GOOD.replace(
      'ports: {80: 8080}}',
      'ports: {80: 8080}, waypoint: {destination: shop/gone.shop.svc.cluster.local, hboneMtlsPort: 15008}}',
    )
    await configure(lab, missing, codeIs(lab, 'front', 'cart:80', 'WAYPOINT_MISSING'))
    await blames(
      t,
      lab,
      ['front', 'cart:80'],
      { outcome: 'refused', code: 'WAYPOINT_MISSING' },
      'waypoint',
      /create it/,
    )
    await configure(lab, GOOD, codeIs(lab, 'front', 'cart:80', 'OK'))
  })

  await t.test(
    'a waypoint before a pod that is called itself: missing, then one that nobody runs',
    async (t) => {
      const behind = (host: string): string =>
        GOOD.replace(
          'ports: {80: 8080}}',
          `ports: {80: 8080}, waypoint: {destination: shop/${host}, hboneMtlsPort: 15008}}\n` +
            '- {name: wp, namespace: shop, hostname: wp.shop, vips: ["/10.96.0.20"], ports: {15008: 15008}}',
        )
          .replace('uid: cart,', 'uid: cart, authorizationPolicies: [shop/sidestep_waypoint_only_shop_wp],')
          .replace(
            'workloads:\n',
            'workloads:\n- {uid: wp-0, name: wp-0, namespace: shop, serviceAccount: wp, trustDomain: cluster.local, ' +
              `workloadIps: ["${STRANGER_IP}"], node: n9, services: {"shop/wp.shop": {}}}\n`,
          )
      const pair = ['front', `${CART_IP}:8080`] as const
      await configure(lab, behind('gone.shop'), codeIs(lab, ...pair, 'WAYPOINT_MISSING'))
      await blames(t, lab, pair, { outcome: 'refused', code: 'WAYPOINT_MISSING' }, 'waypoint', /create it/)
      await configure(lab, behind('wp.shop'), codeIs(lab, ...pair, 'OK'))
      t.match(await why(lab, ...pair), {
        way: /diverts it to the waypoint shop\/wp\.shop of its service shop\/cart/,
      })
      await attempt(lab, 'front', CART_IP, 8080)
      const fault = { outcome: 'failing', code: 'WAYPOINT_UNREACHABLE' } as const
      await blames(t, lab, pair, fault, 'waypoint', /whether it runs/)
      await configure(lab, GOOD, async () => !(await why(lab, ...pair)).way.includes('waypoint'))
      await attempt(lab, 'front', CART_IP, 8080)
      await isWell(t, lab, ...pair)
    },
  )
}

async function testConfigurations(t: Test, lab: MeshLab): Promise<void> {
  await t.test('no endpoint is left', async (t) => {
    const dead = GOOD.replace(/(uid: cart,)/, '$1 status: Unhealthy,')
    await configure(lab, dead, codeIs(lab, 'front', 'cart:80', 'NO_ENDPOINT'))
    await blames(
      t,
      lab,
      ['front', 'cart:80'],
      { outcome: 'refused', code: 'NO_ENDPOINT' },
      'destination',
      /check its pods/,
    )
    await configure(lab, GOOD, codeIs(lab, 'front', 'cart:80', 'OK'))
  })

  await t.test('a caller that is not enrolled, where the destination is strict', async (t) => {
    const strict = GOOD.replace(
      'policies:\n',
      'policies:\n- {name: istio_converted_static_strict, namespace: shop, scope: Namespace, action: Deny, dryRun: false, ' +
        'rules: [[[{notPrincipals: [!Presence []]}]]]}\n',
    )
    await configure(lab, strict, codeIs(lab, STRANGER_IP, `${CART_IP}:8080`, 'PLAINTEXT_REFUSED'))
    await blames(
      t,
      lab,
      [STRANGER_IP, `${CART_IP}:8080`],
      { outcome: 'refused', code: 'PLAINTEXT_REFUSED' },
      'destination',
      /enrol the calling workload/,
    )
    await isWell(t, lab, 'front', 'cart:80')
    await configure(lab, GOOD, codeIs(lab, STRANGER_IP, `${CART_IP}:8080`, 'OK'))
    t.match(await why(lab, STRANGER_IP, `${CART_IP}:8080`), { exit: 0, outcome: 'plain', cause: null })
  })

  await t.test('another trust domain', async (t) => {
    const other = GOOD.replace(/(uid: cart,.*?trustDomain: )cluster\.local/, '$1other.example')
    await configure(lab, other, codeIs(lab, 'front', 'cart:80', 'TRUST_DOMAIN'))
    await blames(
      t,
      lab,
      ['front', 'cart:80'],
      { outcome: 'refused', code: 'TRUST_DOMAIN' },
      'destination',
      /one trust domain/,
    )
    await configure(lab, GOOD, codeIs(lab, 'front', 'cart:80', 'OK'))
  })

  await t.test('a configuration that is not taken is a risk, and the last good one decides', async (t) => {
    await configure(
      lab,
      `${GOOD}\nnonsense: [`,
      async () => (await why(lab, 'front', 'cart:80')).risks.length > 0,
    )
    const { outcome, risks } = await why(lab, 'front', 'cart:80')
    t.equal(outcome, 'allowed')
    t.match(risks[0], {
      ...{ code: 'CONFIG_INVALID', hop: 'discovery', detail: /mesh\.yaml:\d+/ },
      fix: /file, line and field are in the detail/,
    })
    await configure(lab, GOOD, async () => (await why(lab, 'front', 'cart:80')).risks.length === 0)
  })
}

async function testNodes(t: Test, lab: MeshLab): Promise<void> {
  await t.test('a tunnel port that somebody blocks', async (t) => {
    const cart = lab.namespaceOf('cart')
    nft(cart, 'add table inet block')
    nft(cart, 'add chain inet block input { type filter hook input priority -400 ; }')
    nft(cart, 'add rule inet block input tcp dport 15008 drop')
    await attempt(lab, 'batch', CART_IP, 8080)
    const fault = { outcome: 'failing', code: 'HBONE_PORT_BLOCKED' } as const
    await blames(t, lab, ['batch', `${CART_IP}:8080`], fault, 'network', /NetworkPolicy/)
    nft(cart, 'delete table inet block')
    await attempt(lab, 'batch', CART_IP, 8080)
    await isWell(t, lab, 'batch', `${CART_IP}:8080`)
  })

  await t.test('rules that somebody flushed are a risk once they are mended', async (t) => {
    nft(lab.namespaceOf('front'), 'flush ruleset')
    const verdict = await poll('the node has found it', async () => {
      const told = await why(lab, 'front', 'cart:80')
      return told.risks.length > 0 ? told : null
    })
    t.equal(verdict.outcome, 'allowed')
    t.match(verdict.risks, [
      { code: 'NOT_ENROLLED', hop: 'source', where: 'shop/front', fix: /log of the node/ },
    ])
    await isWell(t, lab, 'batch', 'cart:80')
  })

  await t.test('a caller that its node does not serve any more', async (t) => {
    await lab.enrol('n1', ['front'])
    await seen(lab, 'batch', 'cart:80', 'NOT_ENROLLED')
    const fault = { outcome: 'refused', code: 'NOT_ENROLLED' } as const
    await blames(t, lab, ['batch', 'cart:80'], fault, 'source', /log of the node/)
    await lab.enrol('n1', ['front', 'batch'])
    await seen(lab, 'batch', 'cart:80', 'OK')
  })

  await t.test('a destination that its node does not serve any more', async (t) => {
    await lab.enrol('n2', [])
    await seen(lab, 'batch', 'cart:80', 'HBONE_PORT_REFUSED')
    const fault = { outcome: 'refused', code: 'HBONE_PORT_REFUSED' } as const
    await blames(t, lab, ['batch', 'cart:80'], fault, 'destination', /is enrolled there/)
    await lab.enrol('n2', ['cart'])
    await seen(lab, 'batch', 'cart:80', 'OK')
  })

  await t.test('a dump says the same as the nodes it is of', async (t) => {
    const { code, stdout } = await sidestep(lab.directory, [...nodesOf(lab), 'dump'])
    t.equal(code, 0)
    t.notMatch(stdout, /PRIVATE KEY|UFJJVkFURSBLRV/)
    const file = join(lab.directory, 'dump.json')
    await writeFile(file, stdout)
    for (const destination of ['cart:80', 'cart:81']) {
      const args = ['-o', 'json', 'why', 'batch', destination]
      const dumped = await sidestep(lab.directory, ['--dump', file, ...args])
      const { exit, ...told } = await why(lab, 'batch', destination)
      t.equal(dumped.code, exit)
      t.strictSame(JSON.parse(dumped.stdout), told)
    }
  })

  await t.test('a CA that is away is a risk, and a cause when certificates have ended', async (t) => {
    const ca = join(lab.directory, 'ca')
    await rename(ca, `${ca}.away`)
    await writeFile(ca, 'no directory')
    await seen(lab, 'batch', 'cart:80', 'CERT_NOT_RENEWED')
    const { exit, risks } = await why(lab, 'batch', 'cart:80')
    t.equal(exit, 0)
    // Both nodes ask the CA on their own: one of them may have failed earlier.
    t.ok(risks.length > 0)
    for (const { hop, detail, ...risk } of risks) {
      t.match(risk, { code: 'CERT_NOT_RENEWED', fix: /check the CA and the way to it/ })
      t.match(detail, hop === 'source' ? /sa\/batch failed/ : /sa\/cart failed/)
      t.match(hop, /^(source|destination)$/)
    }
    await seen(lab, 'batch', 'cart:80', 'CERT_EXPIRED')
    const { cause } = await why(lab, 'batch', 'cart:80')
    t.match(cause, { code: 'CERT_EXPIRED', fix: /reaches the CA/ })
    // Whose ends first is chance; the hop is that one's.
    t.match(cause?.detail, cause?.hop === 'source' ? /sa\/batch ended at/ : /sa\/cart ended at/)
    t.match(cause?.hop, /^(source|destination)$/)
  })

  await t.test('a node that does not answer is told, and not taken for a cause', async (t) => {
    await lab.kill('n2')
    const { silent } = await why(lab, 'front', '192.0.2.1:80')
    t.match(silent, [/n2\.sock does not answer/])
  })
}

t.test('of two nodes that go by a file', async (t) => {
  const lab = await MeshLab.start(labDirectory(t), GOOD)
  t.teardown(() => lab.close())
  await testTraffic(t, lab)
  await testConfigurations(t, lab)
  await testWaypoints(t, lab)
})

t.test('of what happens to two nodes', async (t) => {
  const lab = await MeshLab.start(labDirectory(t), labMesh([]), { SIDESTEP_CERTIFICATE_TTL_SECONDS: '40' })
  t.teardown(() => lab.close())
  await testNodes(t, lab)
})

t.test('of a clock that is set wrongly', async (t) => {
  const library = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1'
  t.ok(existsSync(library), 'the Debian package faketime is installed')
  const directory = labDirectory(t)
  const file = join(directory, 'n2.time')
  const set = (seconds: number): void => {
    writeFileSync(`${file}.new`, `${seconds < 0 ? '' : '+'}${seconds}\n`)
    renameSync(`${file}.new`, file)
  }
  set(0)
  const clock = {
    ...{ LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_CACHE_DURATION: '1' },
    ...{ FAKETIME_DONT_FAKE_MONOTONIC: '1', NO_FAKE_STAT: '1' },
  }
  const lab = await MeshLab.start(directory, labMesh([]), {}, async () => ({ n1: {}, n2: clock }))
  t.teardown(() => lab.close())
  await isWell(t, lab, 'front', 'cart:80')
  set(120)
  await seen(lab, 'front', 'cart:80', 'CLOCKS_APART')
  const { outcome, risks } = await why(lab, 'front', 'cart:80')
  t.equal(outcome, 'allowed', 'certificates go on being believed')
  t.match(risks, [
    {
      code: 'CLOCKS_APART',
      hop: 'destination',
      where: 'n2',
      detail: /1[12]\d s ahead of that of n1/,
      fix: /NTP/,
    },
  ])
  set(-7200)
  await seen(lab, 'front', 'cart:80', 'CERT_NOT_YET_VALID')
  const fault = { outcome: 'refused', code: 'CERT_NOT_YET_VALID' } as const
  await blames(t, lab, ['front', 'cart:80'], fault, 'destination', /clocks/)
  set(0)
  await seen(lab, 'front', 'cart:80', 'OK')
})
