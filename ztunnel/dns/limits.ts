// SPDX-License-Identifier: Apache-2.0
// What the DNS of one pod may take: of time, and of one worker.

/** SPEC HBONE §8: how long a resolver may take, and how long a connection may say nothing. */
export const DNS_TIMEOUT_MS = 5000
/** Questions of one pod that its resolver has not answered yet: far above any application, each is a socket. */
export const MAX_FORWARDED = 512
/** The same of all pods of a worker. */
export const MAX_FORWARDED_PER_WORKER = 4096
/** Connections of one pod that ask. */
export const MAX_DNS_CONNECTIONS = 128
/** Questions of one connection that the resolver has not answered yet. */
export const MAX_UNANSWERED = 100
