// SPDX-License-Identifier: Apache-2.0
// Real ztunnels with the capabilities of daemonset.yaml, and with one of them taken away: the pod, whose process is of another
// user, is enrolled by the first; of the others its Event, the log and a metric say what is missing. What keeps a pod from
// being enrolled for another cause is told in the same ways.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { labDirectory } from '../support/lab-directory.ts'
import { poll } from '../support/mesh-lab.ts'
import { openWatchedNode, type SeenZtunnel, tablesIn } from '../support/watched-node.ts'

const DAEMONSET = new URL('../../daemonset.yaml', import.meta.url)
const IP = '10.1.0.1'
const MESH =
  'workloads:\n- {uid: cart, name: cart, namespace: shop, serviceAccount: cart, trustDomain: cluster.local, ' +
  `workloadIps: ["${IP}"], protocol: HBONE, node: n1, services: {}}\nservices: []\npolicies: []\n`

t.setTimeout(180_000)

interface Container {
  readonly securityContext: { readonly capabilities: { readonly add: readonly string[] } }
}

/** What the ztunnel of the DaemonSet may do. */
function shippedCapabilities(): readonly string[] {
  const objects = parseAllDocuments(readFileSync(DAEMONSET, 'utf8')).map((each) => each.toJS() as unknown)
  // as: our own file, whose form another test checks
  const daemonSet = objects.find((each) => (each as { kind: string }).kind === 'DaemonSet') as {
    readonly spec: { readonly template: { readonly spec: { readonly containers: readonly Container[] } } }
  }
  return daemonSet.spec.template.spec.containers[0]?.securityContext.capabilities.add ?? []
}

/** A node with one pod. */
async function openNode(t: Test) {
  const node = await openWatchedNode(t, labDirectory(t), MESH)
  const pod = node.startPod('cart', IP)
  pod.show()
  return { ...node, pod, tables: () => tablesIn(pod.namespace) }
}

t.test('the capabilities of the DaemonSet suffice, and one that is missing is named', async (t) => {
  const { events, tables, withZtunnel, pod } = await openNode(t)
  const all = shippedCapabilities()
  t.same(all.toSorted(), ['NET_ADMIN', 'NET_RAW', 'SYS_ADMIN', 'SYS_PTRACE'])
  await withZtunnel(all, async ({ metrics }) => {
    await poll('enrolled', () => /sidestep-nat/.test(tables()) || null)
    await poll(
      'served',
      async () => /^workload_manager_active_proxy_count 1$/m.test(await metrics().catch(() => '')) || null,
    )
    t.notMatch(await metrics(), /^sidestep_pods_not_enrolled\{/m)
    t.same(events, [])
  })
  // Transparent sockets and marks ask for one of NET_ADMIN and NET_RAW.
  for (const missing of all.filter((name) => name !== 'NET_RAW'))
    await t.test(`without ${missing}`, async (t) => {
      await withZtunnel(
        all.filter((name) => name !== missing),
        async ({ log, metrics }) => {
          const event = await poll('an Event', () => events[0] ?? null)
          t.match(event, { reason: 'EnrolmentFailed', message: /^MISSING_CAPABILITY: / })
          t.equal(event.involvedObject.uid, pod.uid)
          await poll(
            'the metric',
            async () =>
              /^sidestep_pods_not_enrolled\{reason="MISSING_CAPABILITY"\} 1$/m.test(
                await metrics().catch(() => ''),
              ) || null,
          )
          t.match(log(), /"reason":"MISSING_CAPABILITY"/)
          t.comment(event.message)
          t.equal(tables(), '', 'no half of the rules is left')
        },
      )
    })
})

t.test('a node whose processes are not seen', async (t) => {
  const { events, withZtunnel } = await openNode(t)
  const procPath = mkdtempSync(join(tmpdir(), 'sidestep-no-proc-'))
  t.teardown(() => rmSync(procPath, { recursive: true }))
  const look = async ({ log, metrics }: SeenZtunnel) => {
    const event = await poll('an Event', () => events[0] ?? null)
    t.match(event, { reason: 'EnrolmentFailed', message: /^POD_UNSEEN: .*hostPID/ })
    await poll(
      'the metric',
      async () =>
        /^sidestep_pods_not_enrolled\{reason="POD_UNSEEN"\} 1$/m.test(await metrics().catch(() => '')) ||
        null,
    )
    t.match(log(), /"reason":"POD_UNSEEN"/)
  }
  await withZtunnel(shippedCapabilities(), look, { SIDESTEP_HOST_PROC_PATH: procPath })
})

t.test(
  'rules of another mesh in the pod: told at the pod, counted, and forgotten once they are gone',
  async (t) => {
    const { events, tables, withZtunnel, pod } = await openNode(t)
    const inPod = (command: string): void =>
      pod.namespace.run(() => void spawnSync('sh', ['-c', command], { stdio: 'inherit' }))
    inPod('nft add table inet istio-ambient-nat')
    inPod("nft add chain inet istio-ambient-nat output '{ type nat hook output priority -100; }'")
    inPod('nft add rule inet istio-ambient-nat output tcp dport 1-65535 redirect to :15001')
    await withZtunnel(shippedCapabilities(), async ({ log, metrics }) => {
      const event = await poll('an Event', () => events[0] ?? null)
      t.match(event, { reason: 'EnrolmentFailed', message: /^FOREIGN_REDIRECTION: / })
      t.equal(event.involvedObject.uid, pod.uid)
      await poll(
        'the metric',
        async () =>
          /^sidestep_pods_not_enrolled\{reason="FOREIGN_REDIRECTION"\} 1$/m.test(
            await metrics().catch(() => ''),
          ) || null,
      )
      t.match(log(), /"reason":"FOREIGN_REDIRECTION"/)
      inPod('nft flush ruleset')
      await poll('enrolled', () => /sidestep-nat/.test(tables()) || null)
      await poll(
        'no longer counted',
        async () => !/^sidestep_pods_not_enrolled\{/m.test(await metrics()) || null,
      )
    })
  },
)
