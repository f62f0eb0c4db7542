// SPDX-License-Identifier: Apache-2.0
// What requests to one set of endpoints may use when no DestinationRule says so, and what it may say at most.

/** Connections to all endpoints of a service, where no policy says how many. */
export const MAX_UPSTREAM_CONNECTIONS = 4_096
/** Requests that wait for a connection, where no policy says how many: a second’s worth of a busy service. */
export const MAX_PENDING_REQUESTS = 4_096
/** A request waits for a connection so long, where all are busy: longer than callers wait. */
export const PENDING_TIMEOUT_MS = 300_000
/** Requests under way, where no policy says how many. */
export const MAX_ACTIVE_REQUESTS = 65_536
/** Requests on one HTTP/2 connection, whatever its server allows; more open another connection. */
export const MAX_HTTP2_STREAMS = 100
/** Endpoints that one request may find gone while it waits, before it is refused. */
export const MAX_PLACEMENTS = 8
/** Time to connect to an endpoint, where no policy says how much: Istio’s. */
export const UPSTREAM_CONNECT_TIMEOUT_MS = 10_000
/** An HTTP/2 connection on which a request got no answer is cut when it does not answer a PING in this time. */
export const PROBE_TIMEOUT_MS = 5_000
/** A connection without a request is closed after this, where no policy says when: before the tunnel below it. */
export const UPSTREAM_IDLE_TIMEOUT_MS = 240_000
/** Time out of use grows by the base with every ejection, up to this: Envoy’s. */
export const EJECTION_MAX_MS = 300_000
/** Endpoints that a connection without HTTP may try. */
export const MAX_TCP_ATTEMPTS = 3
/** A latency counts less the older it is: after so long it has lost two thirds. */
export const LATENCY_DECAY_MS = 10_000
/** Attempts after the first that a route may ask for. */
export const MAX_RETRIES_PER_REQUEST = 10
/** Requests that are tried again at one time, of a hundred under way. */
export const UPSTREAM_RETRY_PERCENT = 20
/** … and so many whatever the share says. */
export const UPSTREAM_MIN_RETRIES = 3
/** First wait before an attempt, where no route says how long: Envoy’s. */
export const RETRY_BACKOFF_MS = 25
/** No wait before an attempt is longer than so many first ones. */
export const RETRY_BACKOFF_FACTOR = 10
