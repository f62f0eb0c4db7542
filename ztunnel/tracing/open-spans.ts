// SPDX-License-Identifier: Apache-2.0
// The exporter of spans as the node is configured. Everything that traces need in main is loaded with this file.
import { systemClock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { VERSION } from '../admin-drain.ts'
import type { ZtunnelConfig } from '../config.ts'
import { openCollector } from './post-spans.ts'
import { SpanExporter } from './span-exporter.ts'

export async function openSpans(config: ZtunnelConfig, log: Log): Promise<SpanExporter> {
  const { nodeName: node, clusterId, otlpEndpoint } = config
  return new SpanExporter({
    post: await openCollector(otlpEndpoint),
    resource: { node, clusterId, version: VERSION },
    ...{ clock: systemClock, random: Math.random, log },
  })
}
