// SPDX-License-Identifier: Apache-2.0
// The one table of reason codes. Logs, metrics, the wire, the CLI and docs/reasons.md are all read from it.
// Codes and numbers are API: never renamed, never reused.

/** RFC 9113 §7 error codes by name. */
export const H2_ERROR = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
  HTTP_1_1_REQUIRED: 13,
} as const
export type H2ErrorName = keyof typeof H2_ERROR

/** `istio_*{response_flags}` values users already alert on; `-` means none. */
export type ResponseFlag =
  | '-'
  | 'DENY'
  | 'CONNECT'
  | 'TLS_FAILURE'
  | 'H2_HANDSHAKE_FAILURE'
  | 'NETWORK_POLICY'
  | 'IDENTITY_ERROR'
  | 'CERT_REVOKED'

/** What a reason means on every surface that shows it. */
export interface Reason {
  /** Stable number, used in counters and binary records. */
  readonly number: number
  readonly httpStatus: number
  /** gRPC status code (grpc.io/docs/guides/status-codes). */
  readonly grpcStatus: number
  /** Error code of the RST_STREAM or GOAWAY that carries this reason. */
  readonly h2Reset: H2ErrorName
  readonly responseFlag: ResponseFlag
  /** One line that tells an operator what to do. */
  readonly fix: string
}

type Row = readonly [number, number, number, H2ErrorName, ResponseFlag, string]
// biome-ignore format: a table
const ROWS = {
  OK: [0, 200, 0, 'NO_ERROR', '-', 'nothing to fix: the connection ended as both sides wanted'],
  IDENTITY_MISSING: [1, 401, 16, 'CANCEL', 'IDENTITY_ERROR',
    'enrol the calling workload, or allow plaintext callers for this port'],
  IDENTITY_MISMATCH: [2, 502, 14, 'CANCEL', 'IDENTITY_ERROR',
    'the pod behind this address runs under another service account: check the address and the workload entry'],
  TRUST_DOMAIN: [3, 401, 16, 'CANCEL', 'TLS_FAILURE',
    'the peer belongs to another trust domain: use one root and one trust domain in a mesh'],
  CERT_EXPIRED: [4, 401, 16, 'CANCEL', 'TLS_FAILURE',
    'the certificate has expired: check that its node reaches the CA'],
  CERT_NOT_YET_VALID: [5, 401, 16, 'CANCEL', 'TLS_FAILURE',
    'the certificate lies in the future: compare the clocks of both nodes'],
  CERT_REVOKED: [6, 401, 16, 'CANCEL', 'CERT_REVOKED',
    'the certificate was revoked: give the workload a new one'],
  CERT_INVALID: [7, 401, 16, 'CANCEL', 'TLS_FAILURE',
    'the certificate is no usable workload certificate (CA as leaf, no SPIFFE id, unknown root): see the detail'],
  CERT_UNAVAILABLE: [8, 503, 14, 'CANCEL', 'IDENTITY_ERROR',
    'no certificate for the workload yet: check the CA and the log of the node'],
  CERT_MISSING: [9, 401, 16, 'CANCEL', 'TLS_FAILURE',
    'the peer presented no certificate: on the tunnel port only mTLS is spoken, enrol the caller'],
  CERT_NOT_RENEWED: [10, 503, 14, 'CANCEL', '-',
    'a certificate is past its renewal and has no successor: check the CA and the way to it before it expires'],
  CERT_NOT_LIVE: [11, 503, 14, 'CANCEL', '-',
    'a worker presents another certificate than the one stored; it is sent again: if that stays, restart the ztunnel'],
  CERT_GRACE: [12, 401, 16, 'CANCEL', '-',
    'a peer is let in although its certificate has expired, as certificateGraceDays allows: bring the CA back'],
  POLICY_DENY: [20, 401, 7, 'CANCEL', 'DENY',
    'a policy of the destination refuses the caller: its record there names it'],
  POLICY_NO_ALLOW: [21, 401, 7, 'CANCEL', 'DENY',
    'ALLOW policies exist and none matches: add the caller to the nearest one'],
  POLICY_NEEDS_L7: [22, 401, 7, 'CANCEL', 'DENY',
    'the policy has L7 conditions: opt the service in to a waypoint'],
  POLICY_CHANGED: [23, 401, 7, 'CANCEL', 'DENY',
    'a policy change ended the connection: see the deciding policy'],
  PLAINTEXT_REFUSED: [24, 401, 16, 'CANCEL', 'DENY', 'the pod accepts only mTLS: enrol the caller'],
  WAYPOINT_MISSING: [30, 503, 14, 'CANCEL', 'CONNECT',
    'the waypoint the service names does not exist: create it or correct the name'],
  WAYPOINT_NOT_READY: [31, 503, 14, 'CANCEL', 'CONNECT',
    'no instance of the waypoint is healthy: check its pods'],
  WAYPOINT_BYPASS: [32, 401, 7, 'CANCEL', 'DENY', 'the service accepts connections from its waypoint only'],
  NO_ENDPOINT: [40, 503, 14, 'CANCEL', 'CONNECT',
    'the service has no healthy endpoint: check its pods and its selector'],
  NO_SUCH_PORT: [41, 503, 14, 'CANCEL', 'CONNECT',
    'the service does not list this port: add the port or correct the client'],
  ENDPOINT_REFUSED: [42, 503, 14, 'CANCEL', 'CONNECT',
    'nothing listens on that port of the pod: start the application or correct the target port'],
  ENDPOINT_GONE: [43, 503, 14, 'CANCEL', 'CONNECT',
    'the pod has ended: the next connection takes another one'],
  HBONE_PORT_BLOCKED: [44, 503, 14, 'CANCEL', 'NETWORK_POLICY',
    'port 15008 of the pod does not answer: allow it in the NetworkPolicy'],
  CONNECT_TIMEOUT: [45, 503, 14, 'CANCEL', 'CONNECT',
    'the address did not answer in time: check the route and the firewall'],
  NETWORK_UNREACHABLE: [46, 503, 14, 'CANCEL', 'CONNECT', 'there is no route to the address'],
  CONNECT_FAILED: [47, 503, 14, 'CANCEL', 'CONNECT', 'the connection could not be opened: see the detail'],
  HBONE_PORT_REFUSED: [48, 503, 14, 'CANCEL', 'CONNECT',
    'nothing listens on the tunnel port of the pod: check that its node runs a ztunnel and that the pod is enrolled there'],
  TLS_HANDSHAKE: [50, 502, 14, 'CANCEL', 'TLS_FAILURE', 'the TLS handshake failed: see the detail'],
  TLS_BROKEN: [51, 502, 14, 'CANCEL', 'TLS_FAILURE',
    'the TLS stream was damaged or cut: check the network between the nodes'],
  HANDSHAKE_TIMEOUT: [52, 503, 14, 'CANCEL', 'TLS_FAILURE', 'the peer did not finish the handshake in time'],
  TUNNEL_RESET: [53, 502, 14, 'CONNECT_ERROR', 'CONNECT', 'the tunnel to the other node was cut'],
  STREAM_RESET: [54, 502, 14, 'CANCEL', 'CONNECT',
    'the other node ended the stream: see its record of this connection'],
  PEER_RESET: [55, 502, 14, 'CONNECT_ERROR', 'CONNECT', 'the application or client reset its connection'],
  PEER_UNRESPONSIVE: [56, 504, 14, 'CONNECT_ERROR', 'CONNECT',
    'the peer stopped answering pings: check the network between the nodes'],
  TUNNEL_REFUSED: [57, 503, 14, 'CANCEL', 'CONNECT',
    'the other node refused the stream: see the status in the detail'],
  IDLE_TIMEOUT: [60, 504, 4, 'CANCEL', '-', 'no bytes moved for too long'],
  HALF_CLOSE_TIMEOUT: [61, 504, 4, 'CANCEL', '-',
    'one side closed and the other never did: fix the application that keeps it open'],
  DRAIN: [62, 503, 14, 'CONNECT_ERROR', '-', 'the node is being drained'],
  SHUTDOWN: [63, 503, 14, 'CONNECT_ERROR', '-', 'the process ended before the connection did'],
  WORKER_LOST: [64, 503, 14, 'CONNECT_ERROR', '-',
    'a worker ended unexpectedly: please report the log of the node'],
  LIMIT_CONNECTION: [70, 503, 8, 'ENHANCE_YOUR_CALM', '-',
    'a limit of one connection was reached: see docs/limits.md'],
  LIMIT_POD: [71, 503, 8, 'ENHANCE_YOUR_CALM', '-', 'a limit of the pod was reached: see docs/limits.md'],
  LIMIT_NODE: [72, 503, 8, 'ENHANCE_YOUR_CALM', '-', 'a limit of the node was reached: see docs/limits.md'],
  OUT_OF_DESCRIPTORS: [73, 503, 8, 'REFUSED_STREAM', '-',
    'the process is out of file descriptors: raise its limit'],
  H2_PROTOCOL: [80, 400, 13, 'PROTOCOL_ERROR', 'H2_HANDSHAKE_FAILURE',
    'the peer broke HTTP/2: see the detail'],
  H2_FRAME_SIZE: [81, 400, 13, 'FRAME_SIZE_ERROR', 'H2_HANDSHAKE_FAILURE',
    'the peer sent a frame over the announced size'],
  H2_COMPRESSION: [82, 400, 13, 'COMPRESSION_ERROR', 'H2_HANDSHAKE_FAILURE',
    'the peer sent an undecodable header block'],
  H2_FLOW_CONTROL: [83, 400, 13, 'FLOW_CONTROL_ERROR', 'H2_HANDSHAKE_FAILURE',
    'the peer sent more than its window allows'],
  H2_FLOOD: [84, 400, 8, 'ENHANCE_YOUR_CALM', '-', 'the peer sent too many control frames: see the detail'],
  H2_HEADERS_TOO_LARGE: [85, 431, 8, 'ENHANCE_YOUR_CALM', '-',
    'the header list exceeds the limit of docs/limits.md'],
  H2_STREAM_CLOSED: [86, 400, 13, 'STREAM_CLOSED', '-', 'the peer used a closed stream'],
  H2_PREFACE: [87, 400, 13, 'PROTOCOL_ERROR', 'H2_HANDSHAKE_FAILURE',
    'the peer does not speak HTTP/2 on this port'],
  H2_SETTINGS_TIMEOUT: [88, 400, 13, 'SETTINGS_TIMEOUT', 'H2_HANDSHAKE_FAILURE',
    'the peer did not acknowledge SETTINGS in time'],
  CONNECT_METHOD: [90, 400, 12, 'CANCEL', '-', 'only CONNECT is served here'],
  CONNECT_AUTHORITY: [91, 400, 3, 'CANCEL', '-', 'CONNECT needs an authority of the form host:port'],
  CONNECT_DESTINATION: [92, 400, 3, 'CANCEL', '-', 'the authority names an address that is not of this pod'],
  CONNECT_INTERNAL_PORT: [93, 503, 7, 'CANCEL', 'DENY',
    'ports 15001, 15006, 15008 and 15080 belong to the mesh'],
  LOOP: [94, 503, 7, 'CANCEL', '-',
    'the connection would come back to the mesh itself: the client dialled a port of the mesh'],
  SOCKS_PROTOCOL: [95, 400, 3, 'CANCEL', '-',
    'the client does not speak SOCKS5 (no authentication, CONNECT)'],
  WORKLOAD_UNKNOWN: [100, 503, 14, 'CANCEL', '-',
    'the pod is enrolled but not configured: check the configuration source'],
  NOT_ENROLLED: [101, 503, 14, 'CANCEL', '-',
    'the redirection of the pod is damaged: see the log of the node'],
  NAMESPACE_GONE: [102, 503, 14, 'CANCEL', '-',
    'the network namespace of the pod vanished: the pod has ended'],
  HOSTNAME_UNKNOWN: [103, 503, 5, 'CANCEL', '-', 'no service of that name is known'],
  NETWORK_GATEWAY: [104, 503, 14, 'CANCEL', 'CONNECT',
    'the destination is in another network and no gateway is known'],
  CONFIG_INVALID: [105, 503, 9, 'CANCEL', '-',
    'the configuration file has a mistake: file, line and field are in the detail'],
  CONFIG_STALE: [106, 503, 14, 'CANCEL', '-', 'the configuration is too old: check the controller'],
  MODEL_TIMEOUT: [107, 503, 14, 'CANCEL', '-',
    'the process did not answer a look-up of its own in time: the node is overloaded'],
  NAMESPACE_SHARED: [108, 503, 9, 'CANCEL', '-',
    'two enrolled pods name one network namespace: the first is served, correct the netns of the other in the enrolment file'],
  DNS_UPSTREAM: [110, 503, 14, 'CANCEL', '-',
    'the resolver that the pod chose cannot be reached or did not answer: check it and the pod’s resolv.conf'],
  DNS_RESOLVER_UNKNOWN: [111, 503, 14, 'CANCEL', '-',
    'nobody knows whom the question was for: it was sent to the mesh itself, or the kernel’s connection table is full'],
  DNS_MALFORMED: [112, 400, 3, 'CANCEL', '-', 'the pod sent what is too short for a DNS message'],
  SUPERVISOR_LOST: [113, 503, 14, 'CANCEL', '-',
    'the supervisor of the node was killed: the next one takes the running process over; see why it ended'],
  ALREADY_RUNNING: [114, 503, 9, 'CANCEL', '-',
    'another supervisor serves this node: stop it, or give this one an admin socket of its own'],
  EDGES_UNREPORTED: [115, 503, 14, 'CANCEL', '-',
    'the controller does not take the node’s summary of who talks to whom: traffic is not concerned'],
  HANDOVER_FAILED: [116, 503, 14, 'CANCEL', '-',
    'the next ztunnel of the node took the pods and did not come to serve them: see why it ended'],
  FOREIGN_REDIRECTION: [117, 503, 9, 'CANCEL', '-',
    'another mesh redirects the pod: take it out there (a sidecar goes with a restart), then it is enrolled by itself'],
  NATIVE_UNSUPPORTED: [120, 500, 13, 'INTERNAL_ERROR', '-',
    'this machine lacks what the reactor needs: see the detail'],
  SYSTEM_CALL: [121, 500, 13, 'INTERNAL_ERROR', '-', 'a system call failed: see the detail'],
  MISSING_CAPABILITY: [122, 500, 7, 'INTERNAL_ERROR', '-', 'the process lacks a capability: see the detail'],
  RECORDS_DROPPED: [123, 500, 8, 'INTERNAL_ERROR', '-',
    'records could not be written: check the disk and the reader of the log'],
  NETLINK: [124, 500, 13, 'INTERNAL_ERROR', '-', 'the kernel refused a netlink request: see the detail'],
  ENROLMENT_INVALID: [125, 500, 3, 'INTERNAL_ERROR', '-',
    'the enrolment file has a mistake: file, line and field are in the detail'],
  DISCOVERY_RESTART: [127, 503, 14, 'CANCEL', '-',
    'the controller asks the node to begin its stream again: nothing to do unless it repeats'],
  DISCOVERY_LIMIT: [128, 429, 8, 'ENHANCE_YOUR_CALM', '-',
    'a client of the controller asks for more than one client may: see the detail'],
  INTERNAL: [126, 500, 13, 'INTERNAL_ERROR', '-', 'a defect: please report it with the log of the node'],
  TOKEN_INVALID: [140, 401, 16, 'CANCEL', '-',
    'the CA does not accept the token: the audit record of the CA says why (audience, expiry, pod, node)'],
  JOIN_TOKEN_REUSED: [141, 401, 16, 'CANCEL', '-',
    'the join token was used before: if not by this node it was stolen: revoke it and issue another'],
  IDENTITY_REFUSED: [142, 401, 16, 'CANCEL', '-',
    'the caller may not have this identity: no such pod on its node, or not on the list of its join token'],
  CSR_INVALID: [143, 400, 3, 'CANCEL', '-',
    'the certificate request is malformed, too large or has a weak key: see the detail'],
  CERT_LIFETIME: [144, 400, 3, 'CANCEL', '-',
    'the lifetime asked for exceeds the longest the CA grants: ask for less'],
  CA_KEY: [145, 503, 14, 'CANCEL', '-',
    'the key or certificate of the CA is missing, readable by others or does not fit: see the detail'],
  ROTATION_NOT_READY: [146, 409, 9, 'CANCEL', '-',
    'this step of the root rotation would break handshakes now: wait until the time in the detail'],
  CA_ELSEWHERE: [147, 409, 9, 'CANCEL', '-',
    'the controller does not hold the key of the mesh’s root: do this at the CA that does'],
  REQUEST_INVALID: [148, 400, 3, 'CANCEL', '-',
    'the admin API has no such route, or the body of the request is not what it takes: see the detail'],
  REDIS_UNAVAILABLE: [150, 503, 14, 'CANCEL', '-',
    'Redis does not answer, is loading or read-only: check the server and the way to it; what was read stays in force'],
  REDIS_DENIED: [151, 403, 7, 'CANCEL', '-',
    'Redis refuses the user, the password or the command: compare the ACL of the user with docs/redis.md'],
  REDIS_TLS: [152, 503, 14, 'CANCEL', 'TLS_FAILURE',
    'the TLS handshake with Redis failed: check its certificate, our CA file and that its port speaks TLS'],
  REDIS_ANSWER: [153, 502, 13, 'CANCEL', '-', 'Redis answered what makes no sense to us: see the detail'],
  FENCED: [154, 409, 10, 'CANCEL', '-',
    'another replica has become the leader: this one does nothing more until it leads again'],
  APISERVER_UNAVAILABLE: [155, 503, 14, 'CANCEL', '-',
    'the apiserver does not answer: what was read stays in force, what is known is still served and signed'],
  APISERVER_DENIED: [156, 403, 7, 'CANCEL', '-',
    'the apiserver refuses the controller: apply controller/rbac.yaml and look at the service account'],
  STATUS_REFUSED: [157, 409, 9, 'CANCEL', '-',
    'the apiserver does not take the status of one object, the detail says why; it is tried again later'],
  ENROLMENT_LATE: [160, 503, 14, 'CANCEL', '-',
    'the pod had started before it was enrolled: until then it spoke in plain text; look for load or an end of its ztunnel'],
  POD_UNKNOWN: [161, 503, 14, 'CANCEL', '-',
    'the apiserver did not say whether a new pod belongs to the mesh: check the way to it; the pod is enrolled once it does'],
  CNI_REQUEST_INVALID: [162, 400, 3, 'CANCEL', '-',
    'what stands in the CNI spool of the node names no pod or namespace: see the detail, and who else writes there'],
  CNI_CONFIG: [163, 500, 9, 'INTERNAL_ERROR', '-',
    'the CNI plugin cannot be put into the configuration of the node, new pods are enrolled once they run: see the detail'],
  SNAPSHOT_INVALID: [170, 500, 15, 'INTERNAL_ERROR', '-',
    'what the node saved is damaged, changed or another node’s: it is not used; all is well once the controller answers'],
  SNAPSHOT_TOO_OLD: [171, 503, 14, 'CANCEL', '-',
    'the saved configuration is older than 7 days: it is not used; bring a controller back, or set the clock'],
  SNAPSHOT_PERMISSIONS: [172, 500, 7, 'INTERNAL_ERROR', '-',
    'others may read or write the node’s state: chmod 600 the file, 700 the directory; remove node.key if it was read'],
  SNAPSHOT_NOT_SAVED: [173, 500, 8, 'INTERNAL_ERROR', '-',
    'the state directory cannot be written: traffic goes on, a restart knows less; free the disk or mend the directory'],
} as const satisfies Record<string, Row>

export type ReasonCode = keyof typeof ROWS

/** Every reason by its code. */
export const REASONS: Readonly<Record<ReasonCode, Reason>> = Object.fromEntries(
  Object.entries(ROWS).map(([code, [number, httpStatus, grpcStatus, h2Reset, responseFlag, fix]]) => [
    code,
    { number, httpStatus, grpcStatus, h2Reset, responseFlag, fix },
  ]),
) as Record<ReasonCode, Reason> // as: Object.fromEntries widens the keys

/** True for a code of the table. */
export function isReasonCode(text: string): text is ReasonCode {
  return Object.hasOwn(ROWS, text)
}

/** All codes, in the order of their numbers. */
export const REASON_CODES = Object.keys(ROWS) as readonly ReasonCode[] // as: keys of the literal above
