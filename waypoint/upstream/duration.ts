// SPDX-License-Identifier: Apache-2.0
// Spans of time as the controller tells them. Pure.
import type { Duration } from '@bufbuild/protobuf/wkt'

/** Whole milliseconds; 0: nothing is said. */
export function milliseconds(duration: Pick<Duration, 'seconds' | 'nanos'> | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) * 1000 + Math.round(duration.nanos / 1e6)
}
