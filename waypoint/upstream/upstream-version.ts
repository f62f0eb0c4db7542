// SPDX-License-Identifier: Apache-2.0
// The version of HTTP that a request goes to its endpoint with. Pure.
import type { ClusterView, HttpVersion } from './cluster-view.ts'

/** `isUpgrade`: the request asks for another protocol, which only HTTP/1.1 can here. */
export function upstreamVersion(
  protocol: ClusterView['protocol'],
  upgradesToHttp2: boolean,
  wants: HttpVersion,
  isUpgrade: boolean,
): HttpVersion {
  if (protocol === 'http2') return 'http2'
  if (isUpgrade) return 'http1'
  if (upgradesToHttp2) return 'http2'
  return protocol === 'auto' ? wants : protocol
}
