// SPDX-License-Identifier: Apache-2.0
// Fields of Istio's Telemetry. SPEC ISTIO-API telemetry/v1.
import { ANY, FLAG, fields, list, oneOf, TEXT, TEXT_MAP } from './shape.ts'

const TARGET_REF = fields({ group: TEXT, kind: TEXT, name: TEXT, namespace: TEXT }, 'kind', 'name')
const PROVIDERS = list(fields({ name: TEXT }, 'name'))
const MODE = oneOf('CLIENT_AND_SERVER', 'CLIENT', 'SERVER')
const NAMED = fields({ name: TEXT, defaultValue: TEXT }, 'name')
const TAG = fields({
  literal: fields({ value: TEXT }, 'value'),
  environment: NAMED,
  header: NAMED,
  formatter: fields({ value: TEXT }, 'value'),
})

export const TELEMETRY = fields({
  selector: fields({ matchLabels: TEXT_MAP }),
  targetRef: TARGET_REF,
  targetRefs: list(TARGET_REF),
  accessLogging: list(
    fields({
      match: fields({ mode: MODE }),
      providers: PROVIDERS,
      disabled: FLAG,
      filter: fields({ expression: TEXT }),
    }),
  ),
  tracing: list(
    fields({
      match: fields({ mode: MODE }),
      providers: PROVIDERS,
      // Whole or not: read where it is used.
      randomSamplingPercentage: ANY,
      disableSpanReporting: FLAG,
      customTags: { type: 'map', values: TAG },
      useRequestIdForTraceSampling: FLAG,
      enableIstioTags: FLAG,
      disableContextPropagation: FLAG,
    }),
  ),
  // Not acted on: a finding says so.
  metrics: ANY,
})
