// SPDX-License-Identifier: Apache-2.0
// Options of the ztunnel, for the supervisor and the data process alike: the supervisor hands its environment on.
// The only reader of process.env in this room. docs/configuration.md is generated from this table.
import { hostname } from 'node:os'
import { H2_LIMITS } from '../mesh/h2/limits.ts'
import type { Keepalive } from '../mesh/reactor/socket-options.ts'
import { DATA_PLANE_OPTIONS, dataPlaneMistakes } from '../mesh/runtime/data-plane-options.ts'
import { type OptionTable, type OptionValues, readOptions } from '../mesh/runtime/options.ts'

export const ZTUNNEL_OPTIONS = {
  ...DATA_PLANE_OPTIONS,
  nodeName: {
    type: 'text',
    default: hostname(),
    meaning: 'name of this node, as workloads name theirs',
    synonyms: ['NODE_NAME'],
  },
  network: { type: 'text', default: '', meaning: 'network id of this node', synonyms: ['NETWORK'] },
  configFile: {
    type: 'text',
    default: '',
    meaning:
      'workloads, services and policies in the form of Istio’s LOCAL_XDS_PATH; watched. Instead of a controller',
    synonyms: ['LOCAL_XDS_PATH'],
  },
  controllerAddresses: {
    type: 'text',
    default: '',
    meaning: 'host:port of every controller to follow, separated by commas; ours or istiod',
    synonyms: ['XDS_ADDRESS'],
  },
  onDemand: {
    type: 'boolean',
    default: 'false',
    meaning:
      'learn of the mesh only what this node serves and what its pods call: a first call waits for the controller, and memory follows use. Needs dnsCapture and socks5 off',
    synonyms: ['XDS_ON_DEMAND'],
  },
  stateDirectory: {
    type: 'path',
    default: '/var/lib/sidestep',
    meaning:
      'directory only this process can write; holds what a start without controller and CA needs, keys of workloads included, and what is revoked',
  },
  podName: { type: 'text', default: '', meaning: 'name of this pod', synonyms: ['POD_NAME'] },
  podNamespace: {
    type: 'text',
    default: 'istio-system',
    meaning: 'namespace of this pod',
    synonyms: ['POD_NAMESPACE'],
  },
  serviceAccount: {
    type: 'text',
    default: '',
    meaning: 'service account of this pod',
    synonyms: ['SERVICE_ACCOUNT'],
  },
  hostIp: {
    type: 'text',
    default: '',
    meaning: 'address of the node: a pod that has the same one shares its network',
    synonyms: ['HOST_IP'],
  },
  enrolmentFile: {
    type: 'text',
    default: '',
    meaning: 'file with the pods of this node and their network namespaces; watched',
  },
  zdsSocket: {
    type: 'text',
    default: '',
    meaning: 'socket of a CNI agent that says which pods are enrolled, as Istio’s does (ZDS)',
    synonyms: ['INPOD_UDS'],
  },
  kubernetesEnrolment: {
    type: 'boolean',
    default: 'false',
    meaning:
      'enrol the running pods of this node by the labels that the apiserver tells. Instead of a CNI agent',
  },
  apiserverHost: {
    type: 'text',
    default: '',
    meaning: 'host of the apiserver; every pod has it in its environment',
    synonyms: ['KUBERNETES_SERVICE_HOST'],
  },
  apiserverPort: {
    type: 'integer',
    default: '443',
    min: 1,
    max: 65_535,
    meaning: 'port of the apiserver',
    synonyms: ['KUBERNETES_SERVICE_PORT'],
  },
  serviceAccountDirectory: {
    type: 'path',
    default: '/var/run/secrets/kubernetes.io/serviceaccount',
    meaning: 'directory with the token for the apiserver (token) and its root certificate (ca.crt)',
  },
  hostProcPath: {
    type: 'path',
    default: '/proc',
    meaning: 'where the processes of the whole node are seen: the network namespaces of pods are found there',
  },
  hostNetworkPath: {
    type: 'path',
    default: '/proc/1/ns/net',
    meaning:
      'network namespace of the node: probes of its kubelet are told apart there, and strict pods have their guard',
  },
  strictGuard: {
    type: 'boolean',
    default: 'true',
    meaning:
      'refuse plaintext to strict pods on the node as well, so that they stay strict when the rules inside them are flushed; with kubernetesEnrolment',
  },
  cniSpoolDirectory: {
    type: 'text',
    default: '',
    meaning:
      'directory of the node, here under the same path, by which the CNI plugin has new pods enrolled before they start; empty: they are enrolled once they run',
  },
  cniBinDirectory: {
    type: 'text',
    default: '',
    meaning: 'directory of the node’s CNI plugins, where ours is put; empty: somebody else puts it there',
  },
  cniConfDirectory: {
    type: 'text',
    default: '',
    meaning:
      'directory of the node’s CNI configuration, into which our plugin is put; empty: somebody else does',
  },
  cniTimeoutMs: {
    type: 'integer',
    default: '2000',
    min: 100,
    max: 60_000,
    unit: 'milliseconds',
    meaning: 'longest that a new pod waits for its enrolment; without a ztunnel it does not wait',
  },
  cniOnTimeout: {
    type: 'text',
    default: 'start',
    choices: ['start', 'retry'],
    meaning:
      'a new pod that could not be enrolled: start, and enrol it later; or retry, so that nothing of it ever goes out in plain text',
  },
  cniAlwaysStart: {
    type: 'text',
    default: 'istio-system,kube-system',
    meaning:
      'namespaces, separated by commas, whose pods start also with retry and on a node that has just started; the ztunnel’s own is always one of them',
  },
  cniBootSeconds: {
    type: 'integer',
    default: '120',
    min: 0,
    max: 3600,
    unit: 'seconds',
    meaning:
      'so long after the start of a node its pods are not started before they are enrolled, as with retry; after that cniOnTimeout counts. 0: never',
  },
  caDirectory: {
    type: 'text',
    default: '',
    meaning: 'directory of the embedded CA: its key and root certificate. Instead of a CA elsewhere',
  },
  trustDomain: {
    type: 'text',
    default: 'cluster.local',
    meaning: 'trust domain of workloads that name none',
  },
  certificateGraceDays: {
    type: 'integer',
    default: '0',
    min: 0,
    max: 30,
    unit: 'days',
    meaning:
      'how long after its end a certificate of a peer is accepted, from a key and identity that this node has met with a valid one; never when it is revoked; 0: not at all',
  },
  adminSocket: { type: 'path', default: '/run/sidestep/admin.sock', meaning: 'Unix socket of the admin API' },
  statusPort: {
    type: 'integer',
    default: '0',
    min: 0,
    max: 65_535,
    unit: 'port',
    meaning: 'TCP port of /ready and /metrics, for everybody who reaches it; 0: none',
  },
  ownListener: {
    type: 'boolean',
    default: 'true',
    meaning:
      'let callers of the mesh reach statusPort of this pod by mTLS as well; where podName, podNamespace, serviceAccount and instanceIp say who it is, and it does not share the network of its node',
  },
  records: {
    type: 'text',
    default: 'stdout',
    meaning: 'where connection records go: stdout, off, or a file that is appended to',
  },
  otlpSamplesPerMillion: {
    type: 'integer',
    default: '10000',
    min: 0,
    max: 1_000_000,
    unit: 'of a million',
    meaning:
      'connections that become spans, by their trace id; those of a caller that keeps its part of the trace become spans anyway',
  },
  redirect: { type: 'boolean', default: 'true', meaning: 'write redirect rules into the pods’ namespaces' },
  originalSource: {
    type: 'boolean',
    default: 'true',
    meaning: 'present the client’s address to the application (needs NET_ADMIN)',
    synonyms: ['ENABLE_ORIG_SRC'],
  },
  socks5: {
    type: 'boolean',
    default: 'false',
    meaning: 'offer SOCKS5 on port 15080 of every pod',
    synonyms: ['UNSTABLE_ENABLE_SOCKS5'],
  },
  capture: {
    type: 'boolean',
    default: 'false',
    meaning:
      'let who may open the admin socket capture the decrypted payload of a pod (sidestep capture); each capture is in the log',
  },
  dnsCapture: {
    type: 'boolean',
    default: 'true',
    meaning:
      'DNS questions of pods come to the mesh, unless the pod’s annotation ambient.istio.io/dns-capture says otherwise',
    synonyms: ['ISTIO_META_DNS_CAPTURE', 'DNS_CAPTURE'],
  },
  clusterDomain: {
    type: 'text',
    default: 'cluster.local',
    meaning: 'domain of Kubernetes services, for short names and headless services',
    synonyms: ['CLUSTER_DOMAIN'],
  },
  ipv6: { type: 'boolean', default: 'true', meaning: 'listen on IPv6 as well', synonyms: ['IPV6_ENABLED'] },
  podConnections: {
    type: 'integer',
    default: '32768',
    min: 1,
    max: 10_000_000,
    meaning: 'connections and tunnels of one pod, in and out; a connection beyond is refused with LIMIT_POD',
  },
  podConnectionsPerSecond: {
    type: 'integer',
    default: '20000',
    min: 1,
    max: 1_000_000,
    meaning: 'new connections of one pod in a second, in and out; those beyond are refused with LIMIT_POD',
  },
  podHandshakesPerSecond: {
    type: 'integer',
    default: '2000',
    min: 1,
    max: 1_000_000,
    meaning: 'new tunnels from peers to one pod in a second; those beyond are refused with LIMIT_POD',
  },
  podBufferedBytes: {
    type: 'integer',
    default: '50331648',
    min: 1_048_576,
    max: 1_073_741_824,
    unit: 'bytes',
    meaning:
      'received bytes that a worker holds for what one pod does not read; a stream that would need more is reset with LIMIT_POD',
  },
  workerBufferedBytes: {
    type: 'integer',
    default: String(H2_LIMITS.inboundPerWorker.value),
    min: 1_048_576,
    max: 8_589_934_592,
    unit: 'bytes',
    meaning:
      'received bytes that a worker holds for what all its pods do not read; from nine tenths on new connections of the pod that has most of them are refused with LIMIT_NODE',
  },
  turnBytes: {
    type: 'integer',
    default: '131072',
    min: 16_384,
    max: 1_073_741_824,
    unit: 'bytes',
    meaning:
      'bytes that one pod may read in a turn of a worker while others read too: more makes bulk cheaper and the others wait longer; hundreds of megabytes: shares by connections, not by pods',
  },
  turnHandshakes: {
    type: 'integer',
    default: '2',
    min: 1,
    max: 1_000_000,
    meaning:
      'steps of TLS handshakes in a turn of a worker, which its pods have by turns: more makes storms of new tunnels cheaper and all others wait longer',
  },
  halfCloseSeconds: {
    type: 'integer',
    default: '3600',
    min: 0,
    max: 604_800,
    unit: 'seconds',
    meaning:
      'a connection of which one side has ended and whose other side has moved no byte for so long is ended with HALF_CLOSE_TIMEOUT; 0: never. As long as Envoy lets a connection be idle',
  },
  keepaliveIdleSeconds: {
    type: 'integer',
    default: '180',
    min: 1,
    max: 32_767,
    unit: 'seconds',
    meaning:
      'how long a connection of a pod is silent before its peer is asked whether it is still there (TCP keepalive); one that is not is ended with PEER_UNRESPONSIVE, on both sides of the mesh',
  },
  keepaliveIntervalSeconds: {
    type: 'integer',
    default: '180',
    min: 1,
    max: 32_767,
    unit: 'seconds',
    meaning: 'time between such questions',
  },
  keepaliveProbes: {
    type: 'integer',
    default: '9',
    min: 1,
    max: 127,
    meaning: 'such questions without an answer, after which the peer is gone',
  },
  drainSeconds: {
    type: 'integer',
    default: '5',
    min: 0,
    max: 86_400,
    unit: 'seconds',
    meaning: 'how long connections may finish after SIGTERM',
  },
} as const satisfies OptionTable

export type ZtunnelConfig = OptionValues<typeof ZTUNNEL_OPTIONS>

/** Reads the configuration; `mistakes` lists everything that is wrong with it. */
export function readConfig(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): { readonly options: ZtunnelConfig; readonly mistakes: readonly string[] } {
  const { options, mistakes } = readOptions(ZTUNNEL_OPTIONS, args, environment)
  return { options, mistakes: [...mistakes, ...contradictions(options)] }
}

/** How connections of pods find out that their peer is gone. */
export function keepaliveOf(config: ZtunnelConfig): Keepalive {
  return {
    idleSeconds: config.keepaliveIdleSeconds,
    intervalSeconds: config.keepaliveIntervalSeconds,
    probes: config.keepaliveProbes,
  }
}

/** The model comes from one place, certificates come from one place. */
function contradictions(options: ZtunnelConfig): string[] {
  const { configFile, controllerAddresses, caDirectory, caAddresses, enrolmentFile, zdsSocket } = options
  const { kubernetesEnrolment, apiserverHost } = options
  const hasCa = caAddresses !== '' || controllerAddresses !== ''
  const found: string[] = []
  if ((configFile === '') === (controllerAddresses === ''))
    found.push('SIDESTEP_CONFIG_FILE: needs to be given, or SIDESTEP_CONTROLLER_ADDRESSES, and not both')
  if ((caDirectory === '' && !hasCa) || (caDirectory !== '' && caAddresses !== ''))
    found.push('SIDESTEP_CA_DIRECTORY: needs to be given, or SIDESTEP_CA_ADDRESSES, and not both')
  if (options.onDemand && controllerAddresses === '')
    found.push('SIDESTEP_ON_DEMAND: only with SIDESTEP_CONTROLLER_ADDRESSES')
  if (options.onDemand && (options.dnsCapture || options.socks5))
    found.push(
      'SIDESTEP_ON_DEMAND: not together with SIDESTEP_DNS_CAPTURE or SIDESTEP_SOCKS5: names are known only where everything is',
    )
  if (enrolmentFile === '' && zdsSocket === '' && !kubernetesEnrolment)
    found.push(
      'SIDESTEP_ENROLMENT_FILE: needs to be given, or SIDESTEP_ZDS_SOCKET, or SIDESTEP_KUBERNETES_ENROLMENT: nobody says which pods there are',
    )
  if (kubernetesEnrolment && zdsSocket !== '')
    found.push('SIDESTEP_KUBERNETES_ENROLMENT: not together with SIDESTEP_ZDS_SOCKET: one agent enrols pods')
  found.push(...dataPlaneMistakes(options))
  const { cniSpoolDirectory, cniBinDirectory, cniConfDirectory } = options
  if (cniSpoolDirectory !== '' && !kubernetesEnrolment)
    found.push('SIDESTEP_CNI_SPOOL_DIRECTORY: only with SIDESTEP_KUBERNETES_ENROLMENT')
  if (cniSpoolDirectory !== '' && !/^\/[A-Za-z0-9_./-]+$/.test(cniSpoolDirectory))
    found.push('SIDESTEP_CNI_SPOOL_DIRECTORY: needs to be an absolute path of letters, digits and _ . / -')
  if ((cniBinDirectory !== '' || cniConfDirectory !== '') && cniSpoolDirectory === '')
    found.push(
      'SIDESTEP_CNI_BIN_DIRECTORY, SIDESTEP_CNI_CONF_DIRECTORY: only with SIDESTEP_CNI_SPOOL_DIRECTORY',
    )
  if (!/^[a-z0-9,-]*$/.test(options.cniAlwaysStart))
    found.push('SIDESTEP_CNI_ALWAYS_START: needs to be names of namespaces, separated by commas')
  if (kubernetesEnrolment && apiserverHost === '')
    found.push('SIDESTEP_APISERVER_HOST: needs to be given with SIDESTEP_KUBERNETES_ENROLMENT')
  return found
}
