// SPDX-License-Identifier: Apache-2.0
// The suite of every source of configuration, against a real apiserver.
import t from 'tap'
import { kubeConfigAccess } from '../../controller/kubernetes/kube-config.ts'
import type { ConfigSink, ConfigSource } from '../../controller/watch/config-source.ts'
import { findKind } from '../../controller/watch/kinds.ts'
import { KubernetesSource } from '../../controller/watch/kubernetes.ts'
import { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { CLUSTER_TEST_MS, Cluster } from '../support/cluster.ts'
import { type SourceLab, testConfigSource } from '../support/config-source-contract.ts'
import { TcpGate } from '../support/tcp-gate.ts'

const NAMESPACE = 'shop'
const TIMING = { retryMs: 20, maxRetryMs: 500, idleMs: 60_000, missingPollMs: 200 }

t.setTimeout(CLUSTER_TEST_MS)
const cluster = await Cluster.open()
t.teardown(() => cluster.close())
await cluster.kubectl('create', 'namespace', NAMESPACE)

/** A cluster is never empty: the suite sees one namespace of it. */
function onlyOf(namespace: string, source: ConfigSource): ConfigSource {
  const start = (sink: ConfigSink): void => {
    source.start({
      replace: (key, objects) =>
        sink.replace(
          key,
          objects.filter(({ metadata }) => metadata.namespace === namespace),
        ),
      apply: (object) => object.metadata.namespace === namespace && sink.apply(object),
      remove: (ref) => ref.namespace === namespace && sink.remove(ref),
      mistakes: (all) => sink.mistakes(all),
      synced: () => sink.synced(),
      reachable: (detail) => sink.reachable(detail),
    })
  }
  return { name: source.name, start, stop: () => source.stop() }
}

/** `plural.group` and name, as kubectl takes them. */
function target({ apiVersion, kind, metadata }: Record<string, unknown>): readonly [string, string] {
  const group = String(apiVersion).includes('/') ? (String(apiVersion).split('/')[0] ?? '') : ''
  const plural = findKind(group, String(kind))?.plural ?? ''
  return [group === '' ? plural : `${plural}.${group}`, (metadata as { name: string }).name] // as: the suite's own
}

async function openLab(): Promise<SourceLab> {
  const server = new URL(cluster.load().getCurrentCluster()?.server ?? '')
  const gate = new TcpGate(server.hostname, Number(server.port))
  await gate.open()
  const load = () => {
    const config = cluster.load()
    const [user] = config.getUsers()
    const behind = config.getCurrentCluster()
    if (user === undefined || behind === null) throw new Error('the kubeconfig names no user')
    config.loadFromClusterAndUser({ ...behind, server: `https://127.0.0.1:${gate.port}` }, user)
    return config
  }
  return {
    open: () => {
      const client = new KubernetesClient(kubeConfigAccess(load), systemClock)
      return onlyOf(
        NAMESPACE,
        new KubernetesSource({ client, clock: systemClock, random: Math.random, timing: TIMING }),
      )
    },
    put: (value) => cluster.apply(JSON.stringify(value)),
    delete: async (value) => {
      await cluster.kubectl('-n', NAMESPACE, 'delete', ...target(value))
    },
    disconnect: () => gate.shut(),
    reconnect: () => gate.open(),
    // What the watch would go on from is gone from etcd and from the memory of the apiserver.
    gap: async (work) => {
      await gate.shut()
      await work()
      await cluster.forget()
      await gate.open()
    },
    close: async () => {
      await gate.shut()
      await cluster.kubectl('-n', NAMESPACE, 'delete', '--all', 'services,authorizationpolicies')
    },
  }
}

testConfigSource(t, 'a real apiserver', openLab, { isValidating: true })
