// SPDX-License-Identifier: Apache-2.0
// The exporter of spans as the node is configured. Everything that traces need in main is loaded with this file.
import { systemClock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { VERSION } from '../../mesh/runtime/version.ts'
import { openCollector } from '../../mesh/tracing/post-spans.ts'
import { SpanExporter } from '../../mesh/tracing/span-exporter.ts'
import type { ZtunnelConfig } from '../config.ts'
import { exportConnections } from './connection-spans.ts'

export async function openSpans(config: ZtunnelConfig, log: Log): Promise<SpanExporter> {
  const { nodeName: node, clusterId, otlpEndpoint } = config
  const resource = {
    serviceName: 'sidestep-ztunnel',
    version: VERSION,
    attributes: { 'k8s.node.name': node, 'k8s.cluster.name': clusterId },
  }
  return new SpanExporter({
    post: await openCollector(otlpEndpoint),
    document: (lines) => exportConnections(lines, resource),
    ...{ clock: systemClock, random: Math.random, log },
  })
}
