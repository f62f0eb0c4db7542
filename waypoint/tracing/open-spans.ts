// SPDX-License-Identifier: Apache-2.0
// The exporter of spans as the waypoint is configured. Everything that traces need in main is loaded with this file.
import { systemClock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { VERSION } from '../../mesh/runtime/version.ts'
import { exportRequest } from '../../mesh/tracing/otlp.ts'
import { openCollector } from '../../mesh/tracing/post-spans.ts'
import { SpanExporter } from '../../mesh/tracing/span-exporter.ts'
import type { WaypointConfig } from '../config.ts'

export async function openSpans(config: WaypointConfig, log: Log): Promise<SpanExporter> {
  const { nodeName, clusterId, podName, podNamespace, otlpEndpoint } = config
  const resource = {
    ...{ serviceName: 'sidestep-waypoint', version: VERSION },
    attributes: {
      'k8s.node.name': nodeName,
      'k8s.cluster.name': clusterId,
      'k8s.namespace.name': podNamespace,
      'k8s.pod.name': podName,
    },
  }
  return new SpanExporter({
    post: await openCollector(otlpEndpoint),
    document: (spans) => exportRequest(spans, resource),
    ...{ clock: systemClock, random: Math.random, log },
  })
}
