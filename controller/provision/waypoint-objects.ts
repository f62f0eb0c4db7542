// SPDX-License-Identifier: Apache-2.0
// What a waypoint is made of: an account, which is its identity, pods spread over nodes, a Service that is its address, and
// a promise that one pod stays. All belong to the Gateway and go with it. Pure; golden-tested.
import { HBONE_PORT } from '../../mesh/net/mesh-ports.ts'
import { waypointObjectName } from '../translate/waypoint-names.ts'
import type { KubernetesObject } from './object-path.ts'
import { objectLabels, podLabels, selectorLabels } from './waypoint-labels.ts'
import type { WaypointPlan } from './waypoint-plan.ts'

/** What the pods of every waypoint are told. */
export interface WaypointSettings {
  readonly image: string
  readonly imagePullPolicy: string
  /** host:port of every controller, separated by commas. */
  readonly controllerAddresses: string
  /** Where the controllers are: with it goes what belongs to no Gateway. */
  readonly controllerNamespace: string
  readonly trustDomain: string
  readonly clusterId: string
  /** Further options, by their names in the environment; '': as without. */
  readonly options: Readonly<Record<string, string>>
}

/** SPEC HBONE §9.2: where readiness is asked. */
const STATUS_PORT = 15_021
const TOKEN_DIRECTORY = '/var/run/secrets/tokens'
const TOKEN_SECONDS = 43_200 // the kubelet renews it at 80 % of that
const ROOTS_DIRECTORY = '/var/run/secrets/istio'
const STATE_DIRECTORY = '/var/lib/sidestep'
const DRAIN_SECONDS = 45 // connections under way may end by themselves
/** Of the image of all parts. */
const KEEPER = ['/bin/sh', '/app/mesh/generations/keep.sh', 'node', '/app/image/entry.mjs']
const NOBODY = 65_532 // the user of images without a shell

/** The objects of one waypoint, in the order in which they are needed. */
export function waypointObjects(plan: WaypointPlan, settings: WaypointSettings): KubernetesObject[] {
  const { namespace, gateway, uid, apiVersion, replicas } = plan
  const name = waypointObjectName(gateway)
  const labels = { ...plan.labels, ...objectLabels(gateway) }
  const metadata = {
    name,
    namespace,
    labels,
    ...annotated(plan.annotations),
    ownerReferences: [{ apiVersion, kind: 'Gateway', name: gateway, uid, controller: true }],
  }
  const selector = { matchLabels: selectorLabels(gateway) }
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata,
      // Of a single pod nothing can be promised: its node could never be drained.
      spec: { minAvailable: replicas > 1 ? 1 : 0, selector },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: {
        replicas,
        selector,
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
        template: {
          metadata: {
            labels: { ...plan.labels, ...podLabels(gateway) },
            ...annotated(plan.annotations),
          },
          spec: podSpec(plan, name, settings),
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: {
        ...metadata,
        // Not the field trafficDistribution, which an older apiserver refuses.
        annotations: { 'networking.istio.io/traffic-distribution': 'PreferClose', ...plan.annotations },
      },
      spec: {
        type: 'ClusterIP',
        ipFamilyPolicy: 'PreferDualStack',
        selector: selectorLabels(gateway),
        ports: [
          { name: 'status-port', port: STATUS_PORT, protocol: 'TCP', appProtocol: 'tcp' },
          { name: 'mesh', port: HBONE_PORT, protocol: 'TCP', appProtocol: 'hbone' },
        ],
      },
    },
  ]
}

function annotated(annotations: Readonly<Record<string, string>>): { annotations?: Record<string, string> } {
  return Object.keys(annotations).length === 0 ? {} : { annotations: { ...annotations } }
}

function podSpec({ gateway }: WaypointPlan, name: string, settings: WaypointSettings): unknown {
  return {
    serviceAccountName: name,
    // Only the token below: whoever takes over a waypoint gets no access to the apiserver.
    automountServiceAccountToken: false,
    // Variables of a Service `sidestep-…` would be read as options, and refused.
    enableServiceLinks: false,
    terminationGracePeriodSeconds: DRAIN_SECONDS,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: NOBODY,
      runAsGroup: NOBODY,
      fsGroup: NOBODY,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    topologySpreadConstraints: [
      {
        maxSkew: 1,
        topologyKey: 'kubernetes.io/hostname',
        whenUnsatisfiable: 'ScheduleAnyway', // one node is better than no waypoint
        labelSelector: { matchLabels: selectorLabels(gateway) },
      },
    ],
    containers: [
      {
        name: 'waypoint',
        image: settings.image,
        imagePullPolicy: settings.imagePullPolicy,
        // A supervisor that is killed is back before the next connection: its data process serves on.
        command: [...KEEPER, 'waypoint'],
        ports: [
          { name: 'mesh', containerPort: HBONE_PORT, protocol: 'TCP' },
          { name: 'status-port', containerPort: STATUS_PORT, protocol: 'TCP' },
        ],
        env: environment(gateway, settings),
        readinessProbe: {
          httpGet: { path: '/ready', port: STATUS_PORT, scheme: 'HTTP' },
          periodSeconds: 5,
          timeoutSeconds: 2,
          failureThreshold: 3,
        },
        resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '1Gi' } },
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        },
        volumeMounts: [
          { name: 'token', mountPath: TOKEN_DIRECTORY, readOnly: true },
          { name: 'roots', mountPath: ROOTS_DIRECTORY, readOnly: true },
          { name: 'state', mountPath: STATE_DIRECTORY },
          { name: 'run', mountPath: '/run/sidestep' },
        ],
      },
    ],
    volumes: [
      {
        name: 'token',
        projected: {
          sources: [
            {
              serviceAccountToken: {
                audience: 'istio-ca',
                expirationSeconds: TOKEN_SECONDS,
                path: 'istio-token',
              },
            },
          ],
        },
      },
      { name: 'roots', configMap: { name: 'istio-ca-root-cert', optional: true } },
      { name: 'state', emptyDir: {} },
      { name: 'run', emptyDir: { medium: 'Memory' } },
    ],
  }
}

function environment(gateway: string, settings: WaypointSettings): unknown[] {
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } })
  const set = Object.entries(settings.options).filter(([, value]) => value !== '')
  return [
    { name: 'SIDESTEP_GATEWAY_NAME', value: gateway },
    { name: 'SIDESTEP_CONTROLLER_ADDRESSES', value: settings.controllerAddresses },
    { name: 'SIDESTEP_CONTROLLER_TOKEN', value: `${TOKEN_DIRECTORY}/istio-token` },
    { name: 'SIDESTEP_CONTROLLER_ROOTS', value: `${ROOTS_DIRECTORY}/root-cert.pem` },
    { name: 'SIDESTEP_TRUST_DOMAIN', value: settings.trustDomain },
    { name: 'SIDESTEP_CLUSTER_ID', value: settings.clusterId },
    { name: 'SIDESTEP_DRAIN_SECONDS', value: String(DRAIN_SECONDS - 5) }, // less than it has until it is killed
    ...set.map(([name, value]) => ({ name, value })),
    field('SIDESTEP_POD_NAME', 'metadata.name'),
    field('SIDESTEP_POD_NAMESPACE', 'metadata.namespace'),
    field('SIDESTEP_NODE_NAME', 'spec.nodeName'),
    field('SIDESTEP_INSTANCE_IP', 'status.podIP'),
    field('SIDESTEP_SERVICE_ACCOUNT', 'spec.serviceAccountName'),
  ]
}
