// SPDX-License-Identifier: Apache-2.0
// Whether a waypoint may be sent traffic. Pure.

/** What a data process has. */
export interface Progress {
  /** Workers that accept; null: the supervisor has given nothing to be served yet. */
  readonly listening: number | null
  readonly workers: number
  readonly hasConfiguration: boolean
  readonly hasOwnWorkload: boolean
  readonly hasCertificate: boolean
}

/** Nobody is taken who could not be answered: until then callers wait in the queue of the socket. */
export function mayListen({ listening, hasOwnWorkload, hasCertificate }: Progress): boolean {
  return listening !== null && hasOwnWorkload && hasCertificate
}

/** What readiness still waits for; empty = ready. */
export function pendingParts(progress: Progress): string[] {
  const { listening, workers, hasConfiguration, hasOwnWorkload, hasCertificate } = progress
  return [
    ...(listening === null ? ['supervisor'] : listening < workers ? ['workers'] : []),
    ...(!hasConfiguration ? ['configuration'] : hasOwnWorkload ? [] : ['own workload in the configuration']),
    ...(hasCertificate ? [] : ['certificate']),
  ]
}
