// SPDX-License-Identifier: Apache-2.0
// What a controller in a cluster stands on: the apiserver is its configuration, knows whose a token is, keeps the CA's
// keys, and holds the Lease of the leader.
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { isRemoved } from '../../mesh/kubernetes/is-removed.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { openJoinTokenDocument } from '../ca/join-token-document.ts'
import { openDirectoryKeyStore } from '../ca/key-store.ts'
import { tokenReviewAttestor } from '../ca/token-review.ts'
import type { ControllerConfig } from '../config.ts'
import { provisionWaypoints } from '../provision/provision-waypoints.ts'
import type { Sources } from '../sources.ts'
import { statusDuty } from '../status/status-duty.ts'
import { KubernetesSource } from '../watch/kubernetes.ts'
import { kubernetesIdentity } from './identity.ts'
import { kubeConfigAccess, loadKubeConfig } from './kube-config.ts'
import { LeaseElection } from './lease.ts'
import { rootsDuty } from './roots-config-map.ts'
import { openSecretKeyStore } from './secret-key-store.ts'

/** Names of the controller's own objects; controller/rbac.yaml allows exactly these. */
const LEASE = 'sidestep-controller'
const DEPLOYMENT = 'sidestep-controller'
const CA_SECRET = 'sidestep-ca'
const JOIN_TOKEN_SECRET = 'sidestep-join-tokens'

/** Opens them; nothing is read or dialled yet. @throws Error when the kubeconfig is unreadable */
export function openKubernetes(config: ControllerConfig, clock: Clock): Sources {
  const { kubeconfigFile, controllerNamespace: namespace, caDirectory, trustDomain } = config
  const client = new KubernetesClient(
    kubeConfigAccess(() => loadKubeConfig(kubeconfigFile)),
    clock,
  )
  return {
    source: new KubernetesSource({ client, clock, random: Math.random }),
    keys:
      caDirectory === ''
        ? openSecretKeyStore(client, { namespace, name: CA_SECRET })
        : openDirectoryKeyStore(caDirectory),
    joinTokens: openJoinTokenDocument(openSecretKeyStore(client, { namespace, name: JOIN_TOKEN_SECRET })),
    election: new LeaseElection({
      ...{ client, namespace, name: LEASE, clock },
      // Another one after every start: a replica that was started again is not the one that led.
      holder: `${hostname()}_${process.pid}_${randomUUID()}`,
      monotonicMs: () => performance.now(),
      random: Math.random,
    }),
    attestors: (store) => [
      tokenReviewAttestor({
        kubernetes: kubernetesIdentity(client, { view: store, isSynced: () => store.state.isSynced }),
        nodeAccounts: config.nodeAccounts.split(',').filter((account) => account !== ''),
        ...{ trustDomain, clock },
      }),
    ],
    objects: null,
    duties: (mesh, log, rootsPem) => [
      rootsDuty({ mesh, api: client, namespace, rootsPem, clock, log, random: Math.random }),
      statusDuty({
        ...{ mesh, api: client, settings: config, clock, log },
        monotonicMs: () => performance.now(),
        random: Math.random,
        isRemoved: () => isRemoved(client, { kind: 'deployments', namespace, name: DEPLOYMENT }),
      }),
      ...(config.waypointImage === ''
        ? []
        : [
            provisionWaypoints({
              ...{ mesh, api: client, clock, log, random: Math.random },
              settings: {
                image: config.waypointImage,
                imagePullPolicy: config.waypointImagePullPolicy,
                options: waypointOptions(config),
                controllerAddresses: config.waypointControllerAddresses,
                controllerNamespace: namespace,
                ...{ trustDomain, clusterId: config.clusterId },
              },
            }),
          ]),
    ],
    close: async () => {},
  }
}

/** What a waypoint has for itself; not written, since an older image would not start with a name that it does not know. */
const OWN_BODY_TIMEOUT_SECONDS = 300

/** How waypoints log, trace and wait, where the controller is told. */
export function waypointOptions(config: ControllerConfig): Readonly<Record<string, string>> {
  const { waypointOtlpEndpoint: endpoint, waypointOtlpSamplesPerMillion: samples } = config
  const { waypointBodyTimeoutSeconds: seconds } = config
  return {
    SIDESTEP_ACCESS_LOG: config.waypointAccessLog,
    SIDESTEP_ACCESS_LOG_FORMAT: config.waypointAccessLogFormat,
    SIDESTEP_OTLP_ENDPOINT: endpoint,
    SIDESTEP_OTLP_SAMPLES_PER_MILLION: endpoint === '' ? '' : String(samples),
    SIDESTEP_BODY_TIMEOUT_SECONDS: seconds === OWN_BODY_TIMEOUT_SECONDS ? '' : String(seconds),
  }
}
