// SPDX-License-Identifier: Apache-2.0
// Limits that live beside the code they bound: value and reason are read from the source, so that the documentation
// cannot say another number than the program obeys. Pure but for the source it is given.

/** Where a limit stands. */
export interface SourceLimit {
  readonly file: string
  readonly constant: string
  readonly unit: 'bytes' | 'ms' | 'count'
}
/** A limit as documented. */
export interface ReadLimit extends SourceLimit {
  readonly value: number
  readonly meaning: string
}

const limits = (file: string, unit: SourceLimit['unit'], ...constants: readonly string[]): SourceLimit[] =>
  constants.map((constant) => ({ file, constant, unit }))

/** Every limit outside the tables of HTTP/2 and HBONE that a user may meet. */
export const SOURCE_LIMITS: readonly SourceLimit[] = [
  ...limits('ztunnel/carry/limits.ts', 'ms', 'CONNECT_TIMEOUT_MS', 'HANDSHAKE_TIMEOUT_MS'),
  ...limits('ztunnel/carry/destinations.ts', 'count', 'MAX_DESTINATIONS', 'MAX_WAITING'),
  ...limits('ztunnel/carry/destinations.ts', 'ms', 'RESOLVE_DEADLINE_MS'),
  ...limits('ztunnel/carry/host-lookups.ts', 'count', 'MAX_LOOKUPS'),
  ...limits('ztunnel/carry/callers.ts', 'count', 'MAX_CALLERS'),
  ...limits('ztunnel/carry/tunnels.ts', 'ms', 'CERTIFICATE_DEADLINE_MS'),
  ...limits('ztunnel/accept/socks5-listener.ts', 'bytes', 'MAX_REQUEST_BYTES'),
  ...limits('ztunnel/accept/socks5-listener.ts', 'ms', 'REQUEST_DEADLINE_MS'),
  ...limits('ztunnel/supervisor/enrolment-file.ts', 'count', 'MAX_PODS'),
  ...limits('ztunnel/supervisor/enroll/zds-client.ts', 'bytes', 'MAX_REQUEST_BYTES'),
  ...limits('ztunnel/supervisor/enroll/zds-client.ts', 'count', 'MAX_WAITING_REQUESTS', 'MAX_TEXT_LENGTH'),
  ...limits('ztunnel/supervisor/enroll/decide-enrolment.ts', 'count', 'MAX_TEXT_LENGTH'),
  ...limits('ztunnel/supervisor/enroll/pod-namespaces.ts', 'count', 'MAX_PROCESSES'),
  ...limits('ztunnel/supervisor/enroll/pod-namespaces.ts', 'bytes', 'MAX_PROCESS_FILE_BYTES'),
  ...limits('ztunnel/supervisor/enroll/namespace-seeker.ts', 'ms', 'SEEK_MAX_MS'),
  ...limits('ztunnel/supervisor/enroll/pod-state.ts', 'ms', 'UNSERVED_MS'),
  ...limits('ztunnel/supervisor/enroll/pod-watch.ts', 'ms', 'STOP_TIMEOUT_MS'),
  ...limits('ztunnel/supervisor/enroll/ask-pod.ts', 'ms', 'ASK_TIMEOUT_MS'),
  ...limits(
    'ztunnel/supervisor/enroll/pod-events.ts',
    'count',
    'EVENT_BURST',
    'EVENTS_PER_SECOND',
    'MAX_REMEMBERED',
  ),
  ...limits('ztunnel/supervisor/enroll/pod-events.ts', 'ms', 'EVENT_TIMEOUT_MS'),
  ...limits('ztunnel/supervisor/enroll/cni/cni-request.ts', 'bytes', 'MAX_CNI_REQUEST_BYTES'),
  ...limits('ztunnel/supervisor/enroll/cni/cni-request.ts', 'count', 'MAX_TEXT_LENGTH'),
  ...limits('ztunnel/supervisor/enroll/cni/cni-spool.ts', 'count', 'MAX_ADMISSIONS', 'MAX_SPOOL_FILES'),
  ...limits('ztunnel/supervisor/enroll/cni/cni-spool.ts', 'ms', 'ADMISSION_TIMEOUT_MS'),
  ...limits('ztunnel/supervisor/enroll/cni/cni-installation.ts', 'bytes', 'MAX_CONF_BYTES'),
  ...limits('ztunnel/supervisor/enroll/cni/cni-installation.ts', 'count', 'MAX_CONF_FILES'),
  ...limits('ztunnel/supervisor/enroll/cni/is-uninstalled.ts', 'ms', 'DAEMON_SET_TIMEOUT_MS'),
  ...limits('ztunnel/supervisor/enroll/redirection-teller.ts', 'count', 'MAX_TELLING'),
  ...limits('ztunnel/supervisor/enroll/redirection-teller.ts', 'ms', 'RETRY_MAX_MS', 'TELL_TIMEOUT_MS'),
  ...limits('ztunnel/dns/dns-decision.ts', 'count', 'MAX_ADDRESSES'),
  ...limits('ztunnel/dns/dns-message.ts', 'bytes', 'MAX_PAYLOAD_BYTES'),
  ...limits(
    'ztunnel/dns/limits.ts',
    'count',
    'MAX_FORWARDED',
    'MAX_FORWARDED_PER_WORKER',
    'MAX_DNS_CONNECTIONS',
    'MAX_UNANSWERED',
  ),
  ...limits('ztunnel/dns/limits.ts', 'ms', 'DNS_TIMEOUT_MS'),
  ...limits('ztunnel/dns/name-verdicts.ts', 'count', 'MAX_VERDICTS', 'MAX_QUESTIONS', 'MAX_WAITING'),
  ...limits('ztunnel/dns/chosen-resolvers.ts', 'count', 'MAX_FLOWS'),
  ...limits('ztunnel/dns/chosen-resolvers.ts', 'ms', 'REMEMBER_MS'),
  ...limits('ztunnel/dns/resolver-connection.ts', 'bytes', 'MAX_UNSENT_BYTES'),
  ...limits('ztunnel/supervisor/enroll/pod-redirect.ts', 'count', 'MAX_VIRTUAL_INTERFACES'),
  ...limits('ztunnel/dns/dns-names.ts', 'count', 'MAX_LABELS'),
  ...limits('ztunnel/supervisor/supervisor.ts', 'ms', 'RESTART_MAX_MS', 'EXIT_GRACE_MS', 'DRIFT_CHECK_MS'),
  ...limits('ztunnel/app.ts', 'ms', 'PREPARE_DEADLINE_MS'),
  ...limits('ztunnel/snapshot/snapshot-age.ts', 'ms', 'MAX_SNAPSHOT_AGE_MS', 'CLOCK_SKEW_MS'),
  ...limits('ztunnel/snapshot/read-frames.ts', 'bytes', 'MAX_SEALED_BYTES'),
  ...limits('ztunnel/snapshot/model-journal.ts', 'bytes', 'MAX_UNSAVED_BYTES'),
  ...limits('ztunnel/snapshot/model-journal.ts', 'ms', 'CONFIRM_INTERVAL_MS', 'RETRY_MS'),
  ...limits('ztunnel/snapshot/saved-document.ts', 'ms', 'SAVE_DELAY_MS', 'SAVE_RETRY_MS'),
  ...limits('ztunnel/snapshot/saved-certificates.ts', 'ms', 'CLAIM_TIME_MS'),
  ...limits('ztunnel/admin-server.ts', 'count', 'MAX_ADMIN_CONNECTIONS'),
  ...limits('ztunnel/admin-server.ts', 'bytes', 'MAX_REQUEST_BYTES'),
  ...limits('ztunnel/admin-server.ts', 'ms', 'REQUEST_TIMEOUT_MS'),
  ...limits('controller/status-server.ts', 'count', 'MAX_STATUS_CONNECTIONS'),
  ...limits('controller/status-server.ts', 'ms', 'REQUEST_TIMEOUT_MS'),
  ...limits('controller/status-server.ts', 'bytes', 'MAX_HEADER_BYTES'),
  ...limits('ztunnel/worker-reports.ts', 'ms', 'REPORT_DEADLINE_MS'),
  ...limits('ztunnel/live-certificates.ts', 'ms', 'LIVE_GRACE_MS'),
  ...limits('ztunnel/carry/tunnel-certificates.ts', 'count', 'MAX_TUNNEL_KINDS'),
  ...limits('mesh/identity/secret-manager.ts', 'count', 'RENEWAL_BURST', 'RENEWALS_PER_SECOND'),
  ...limits('mesh/identity/secret-manager.ts', 'ms', 'CLOCK_CHECK_MS'),
  ...limits('ztunnel/record-writer.ts', 'count', 'RECENT_RECORDS'),
  ...limits('ztunnel/record-writer.ts', 'bytes', 'MAX_UNWRITTEN_BYTES'),
  ...limits('mesh/telemetry/connection-record.ts', 'count', 'MAX_FIELD_LENGTH'),
  ...limits('mesh/telemetry/record-ring.ts', 'bytes', 'RECORD_RING_BYTES', 'MAX_RECORD_BYTES'),
  ...limits('mesh/telemetry/counters.ts', 'count', 'MAX_LABEL_SETS'),
  ...limits('mesh/reactor/tcp-listener.ts', 'count', 'LISTEN_BACKLOG', 'MAX_ACCEPTS_PER_TURN'),
  ...limits('mesh/reactor/tcp-listener.ts', 'ms', 'ACCEPT_RETRY_MS'),
  ...limits('mesh/reactor/udp-socket.ts', 'count', 'MAX_DATAGRAMS_PER_TURN'),
  ...limits('mesh/reactor/udp-socket.ts', 'bytes', 'MAX_DATAGRAM_BYTES'),
  ...limits('mesh/reactor/netlink/conntrack.ts', 'ms', 'LOOKUP_TIMEOUT_MS'),
  ...limits('mesh/reactor/tls-socket.ts', 'bytes', 'HIGH_WATER_BYTES'),
  ...limits('mesh/reactor/subject-alt-name.ts', 'count', 'MAX_NAMES'),
  ...limits('mesh/reactor/subject-alt-name.ts', 'bytes', 'MAX_URI_BYTES'),
  ...limits('mesh/reactor/worker.ts', 'count', 'MAX_MESSAGES_UNDER_WAY'),
  ...limits('mesh/reactor/worker.ts', 'ms', 'STUCK_AFTER_MS'),
  ...limits('mesh/reactor/descriptor-passing.ts', 'count', 'MAX_QUEUED_MESSAGES'),
  ...limits('mesh/grpc/calls.ts', 'bytes', 'STREAM_HIGH_WATER_BYTES'),
  ...limits('mesh/grpc/server.ts', 'bytes', 'MAX_REQUEST_BYTES'),
  ...limits(
    'mesh/grpc/server.ts',
    'count',
    'MAX_CONNECTIONS',
    'MAX_CONNECTIONS_PER_ADDRESS',
    'MAX_STREAMS_PER_CONNECTION',
  ),
  ...limits(
    'mesh/grpc/server.ts',
    'ms',
    'TLS_HANDSHAKE_TIMEOUT_MS',
    'KEEPALIVE_INTERVAL_MS',
    'KEEPALIVE_TIMEOUT_MS',
    'UNARY_TIMEOUT_MS',
  ),
  ...limits('mesh/grpc/client.ts', 'bytes', 'MAX_ANSWER_BYTES'),
  ...limits('mesh/grpc/client.ts', 'ms', 'RECONNECT_MAX_MS'),
  ...limits('controller/ca/sign-request.ts', 'bytes', 'MAX_CSR_BYTES'),
  ...limits('mesh/identity/lifetimes.ts', 'count', 'DEFAULT_TTL_SECONDS', 'MAX_TTL_SECONDS'),
  ...limits('mesh/runtime/token-file.ts', 'bytes', 'MAX_TOKEN_FILE_BYTES'),
  ...limits('controller/ca/attestation.ts', 'bytes', 'MAX_TOKEN_BYTES'),
  ...limits('controller/ca/token-review.ts', 'ms', 'REVIEW_TIMEOUT_MS', 'REVIEW_LIFETIME_MS'),
  ...limits('controller/ca/token-review.ts', 'count', 'MAX_REVIEWS'),
  ...limits('controller/ca/join-tokens.ts', 'ms', 'MAX_JOIN_TOKEN_MS'),
  ...limits('controller/ca/join-tokens.ts', 'count', 'MAX_ALLOWED_IDENTITIES', 'MAX_NODE_LENGTH'),
  ...limits('controller/ca/purge-join-tokens.ts', 'ms', 'PURGE_INTERVAL_MS', 'KEEP_MS'),
  ...limits('controller/ca/join-token-redis.ts', 'count', 'MAX_PURGED'),
  ...limits(
    'controller/ca/rate-limit.ts',
    'count',
    'NODE_BURST',
    'NODE_PER_SECOND',
    'FAILURE_BURST',
    'FAILURE_PER_SECOND',
    'MAX_RATE_KEYS',
  ),
  ...limits('controller/ca/root-authority.ts', 'ms', 'STALE_MS', 'SETTLE_MS'),
  ...limits('controller/ca/cacerts.ts', 'count', 'MAX_INTERMEDIATES'),
  ...limits('mesh/identity/revocation-list.ts', 'count', 'MAX_REVOKED', 'MAX_REVOCATION_LISTS'),
  ...limits('mesh/identity/revocation-list.ts', 'bytes', 'MAX_REVOCATIONS_BYTES'),
  ...limits('controller/ca/audit.ts', 'count', 'MAX_AUDIT_FIELD', 'MAX_UNWRITTEN_LINES'),
  ...limits('controller/ca/join-token-document.ts', 'count', 'MAX_ATTEMPTS'),
  ...limits('controller/ca/join-token-document.ts', 'bytes', 'MAX_DOCUMENT_BYTES'),
  ...limits('controller/kubernetes/secret-key-store.ts', 'ms', 'REQUEST_TIMEOUT_MS'),
  ...limits('controller/ca/external.ts', 'ms', 'UPSTREAM_TIMEOUT_MS'),
  ...limits(
    'controller/provision/provision-waypoints.ts',
    'ms',
    'RESYNC_INTERVAL_MS',
    'REMOVE_DELAY_MS',
    'RETRY_MAX_MS',
  ),
  ...limits('controller/provision/provision-waypoints.ts', 'count', 'CONCURRENT_GATEWAYS'),
  ...limits('controller/provision/object-writer.ts', 'ms', 'REQUEST_TIMEOUT_MS'),
  ...limits('controller/provision/waypoint-plan.ts', 'count', 'MAX_REPLICAS'),
  ...limits('controller/publish/delta-server.ts', 'ms', 'ANSWER_TIMEOUT_MS'),
  ...limits('controller/publish/delta-server.ts', 'bytes', 'MAX_UNSENT_BYTES'),
  ...limits(
    'controller/publish/delta-server.ts',
    'count',
    'MAX_STREAMS_PER_NODE',
    'MAX_ID_LENGTH',
    'MAX_REFUSALS',
  ),
  ...limits(
    'controller/publish/delta-session.ts',
    'count',
    'MAX_TYPES',
    'MAX_MESSAGE_LENGTH',
    'MAX_SUBSCRIBED_NAMES',
  ),
  ...limits('controller/publish/resource-log.ts', 'count', 'MAX_TOMBSTONES'),
  ...limits('controller/translate/bounded-findings.ts', 'count', 'MAX_FINDINGS'),
  ...limits('controller/translate/locality.ts', 'count', 'MAX_LABEL'),
  ...limits('mesh/kubernetes/list-watch.ts', 'count', 'MAX_EXPIRED_LISTS', 'MAX_CUTS'),
  ...limits('controller/watch/redis.ts', 'count', 'MAX_OBJECTS_PER_KIND'),
  ...limits('mesh/discovery/delta-client.ts', 'count', 'MAX_NACK_LENGTH'),
  ...limits(
    'mesh/discovery/discovery-client.ts',
    'ms',
    'CONNECT_TIMEOUT_MS',
    'BACKOFF_MAX_MS',
    'SNAPSHOT_WAIT_MS',
  ),
  ...limits('mesh/grpc/stream-client.ts', 'bytes', 'MAX_MESSAGE_BYTES'),
  ...limits('mesh/grpc/stream-client.ts', 'ms', 'PING_TIMEOUT_MS'),
  ...limits('mesh/identity/istio-ca.ts', 'ms', 'TIMEOUT_MS'),
  ...limits('mesh/identity/certificate.ts', 'count', 'MAX_CHAIN'),
  ...limits('mesh/identity/pki.ts', 'bytes', 'MAX_PEM_LENGTH'),
  ...limits('mesh/identity/secret-manager.ts', 'count', 'MAX_IN_FLIGHT'),
  ...limits('mesh/identity/secret-manager.ts', 'ms', 'RETRY_MAX_MS', 'ISSUE_TIMEOUT_MS', 'SAVED_WAIT_MS'),
  ...limits('mesh/identity/spiffe.ts', 'count', 'MAX_ID_LENGTH'),
  ...limits('mesh/identity/trust-bundle.ts', 'count', 'MAX_ROOTS'),
  ...limits('controller/ca/vault-http.ts', 'bytes', 'MAX_VAULT_ANSWER_BYTES'),
  ...limits('controller/translate/notes.ts', 'count', 'MAX_FINDINGS_PER_OBJECT', 'MAX_FINDING_TEXT'),
  ...limits('controller/translate/auto-addresses.ts', 'count', 'MAX_PROBES'),
  ...limits('controller/watch/value-size.ts', 'count', 'MAX_OBJECT_DEPTH', 'MAX_OBJECT_VALUES'),
  ...limits('controller/watch/value-size.ts', 'bytes', 'MAX_OBJECT_BYTES'),
  ...limits(
    'controller/watch/read-object.ts',
    'count',
    'MAX_NAME_LENGTH',
    'MAX_NAMESPACE_LENGTH',
    'MAX_LABEL_KEY_LENGTH',
  ),
  ...limits('controller/watch/read-object.ts', 'bytes', 'MAX_ANNOTATIONS_LENGTH'),
  ...limits('controller/watch/value-mistakes.ts', 'count', 'MAX_MISTAKES_PER_OBJECT'),
  ...limits('controller/watch/yaml-documents.ts', 'bytes', 'MAX_FILE_BYTES'),
  ...limits('controller/watch/yaml-documents.ts', 'count', 'MAX_ALIASES', 'MAX_FILE_OBJECTS'),
  ...limits(
    'controller/watch/directory-scan.ts',
    'count',
    'MAX_FILES',
    'MAX_DIRECTORIES',
    'MAX_DEPTH',
    'MAX_SCANNED_ENTRIES',
  ),
  ...limits('controller/watch/file-objects.ts', 'count', 'MAX_TOLD_MISTAKES'),
  ...limits('controller/watch/directory.ts', 'ms', 'LOOK_INTERVAL_MS', 'SETTLE_MS'),
  ...limits('controller/watch/directory.ts', 'bytes', 'MAX_TOTAL_BYTES'),
  ...limits('controller/watch/object-cache.ts', 'count', 'MAX_BROKEN_OBJECTS'),
  ...limits('mesh/kubernetes/client.ts', 'bytes', 'MAX_ANSWER_BYTES', 'MAX_LINE_BYTES'),
  ...limits('mesh/kubernetes/client.ts', 'ms', 'REQUEST_TIMEOUT_MS'),
  ...limits('mesh/kubernetes/list-watch.ts', 'count', 'PAGE_SIZE', 'MAX_OBJECTS_PER_KIND'),
  ...limits(
    'controller/kubernetes/roots-config-map.ts',
    'ms',
    'REST_MS',
    'LOOK_INTERVAL_MS',
    'REPAIR_INTERVAL_MS',
    'RETRY_MAX_MS',
  ),
  ...limits('controller/status/status-duty.ts', 'count', 'STATUS_BURST', 'STATUSES_PER_SECOND', 'PLAN_REST'),
  ...limits(
    'controller/status/status-duty.ts',
    'ms',
    'PLAN_INTERVAL_MS',
    'LOOK_INTERVAL_MS',
    'REFUSED_RETRY_MS',
    'RETRY_INITIAL_MS',
    'RETRY_MAX_MS',
  ),
  ...limits('controller/status/status-plan.ts', 'count', 'MAX_PLANNED_STATUSES', 'MAX_REWRITE_DOUBLINGS'),
  ...limits('controller/status/status-plan.ts', 'ms', 'FACT_INTERVAL_MS', 'WORDS_INTERVAL_MS'),
  ...limits('controller/status/status-writer.ts', 'count', 'MAX_STATUS_TRIES'),
  ...limits('controller/status/status-writer.ts', 'ms', 'WRITE_TIMEOUT_MS'),
  ...limits('controller/status/status-report.ts', 'count', 'MAX_TOLD_FAILURES', 'MAX_TOLD_WRITES'),
  ...limits('controller/status/status-patch.ts', 'count', 'MAX_STATUS_MESSAGE'),
  ...limits('controller/status/policy-status.ts', 'count', 'MAX_TOLD_FINDINGS', 'MAX_TOLD_WAYPOINTS'),
  ...limits('controller/watch/redis.ts', 'ms', 'LOOK_INTERVAL_MS'),
  ...limits('controller/watch/redis.ts', 'count', 'MAX_WAITING_CHANGES'),
  ...limits('controller/watch/leader-lock.ts', 'ms', 'LEADER_TTL_MS', 'SAFETY_MS'),
  ...limits('mesh/redis/redis-connection.ts', 'ms', 'CONNECT_TIMEOUT_MS', 'COMMAND_TIMEOUT_MS'),
  ...limits('mesh/model/yaml-reader.ts', 'bytes', 'MAX_TEXT_LENGTH'),
  ...limits('mesh/model/yaml-reader.ts', 'count', 'MAX_NODES', 'MAX_FINDINGS'),
]

/** What looks like a limit by its name and is none that a user may meet, and why. */
export const NO_LIMITS: Readonly<Record<string, string>> = {
  MAX_PORT: 'of the protocol',
  MAX_WEIGHT: 'of the protocol',
  MAX_DELAY_MS: 'coalesces changes, refuses none',
  FINGERPRINT_BYTES: 'a size in memory',
  MAX_QUOTED: 'shortens a message',
  MAX_NAMED_PLACES: 'shortens a message',
  MAX_NAMED_PORTS: 'shortens a name',
  MAX_PATH_PARTS: 'shortens a message',
  MAX_DETAIL: 'shortens a message',
  MAX_STATUS_LENGTH: 'shortens a message',
  MAX_ERROR_LENGTH: 'shortens a message',
  MAX_LOGGED_MISTAKES: 'shortens a message',
  MAX_TOLD: 'shortens a message',
  MAX_MESSAGE_LENGTH: 'shortens a message',
  MAX_BODY_BYTES: 'of the admin socket: who may ask there may do anything',
  MAX_IDENTITIES: 'repeats MAX_ALLOWED_IDENTITIES',
  MAX_TOKEN_SECONDS: 'repeats MAX_JOIN_TOKEN_MS',
  ID_BYTES: 'size of a random value',
  SECRET_BYTES: 'size of a random value',
  SERIAL_BYTES: 'size of a random value',
}

const LIMIT_LINE =
  /^(?:export )?const ((?:MAX_\w+|(?:\w+_)?(?:TIMEOUT_MS|DEADLINE_MS|MAX_MS|BYTES|BURST|PER_SECOND))) = \d/gm

/** Names of the constants in a source that are limits by their names, in the order in which they stand. */
export function limitNames(source: string): string[] {
  return [...source.matchAll(LIMIT_LINE)].flatMap(([, name = '']) =>
    Object.hasOwn(NO_LIMITS, name) ? [] : [name],
  )
}

/** Finds a limit in the text of its file. @throws Error when it is not there, not a number, or has no reason */
export function readSourceLimit(limit: SourceLimit, source: string): ReadLimit {
  const { file, constant } = limit
  const line = new RegExp(`^(?:export )?const ${constant} = ([\\d_ *+]+?)(?: // (.+))?$`, 'm').exec(source)
  if (line?.[1] === undefined) throw new Error(`${file}: there is no ${constant} that is a number`)
  const before = source.slice(0, line.index).trimEnd().split('\n').at(-1) ?? ''
  const meaning = line[2] ?? /^\/\*\* (.+) \*\/$/.exec(before)?.[1] ?? /^\/\/ (.+)$/.exec(before)?.[1]
  if (meaning === undefined) throw new Error(`${file}: ${constant} has no comment that gives its reason`)
  const value = line[1]
    .replaceAll('_', '')
    .split('+')
    .reduce((sum, term) => sum + term.split('*').reduce((product, factor) => product * Number(factor), 1), 0)
  return { ...limit, value, meaning }
}
