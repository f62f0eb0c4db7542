// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { DATA_PLANE_OPTIONS, dataPlaneMistakes } from '../../../mesh/runtime/data-plane-options.ts'
import { readOptions } from '../../../mesh/runtime/options.ts'
import { WAYPOINT_OPTIONS } from '../../../waypoint/config.ts'
import { ZTUNNEL_OPTIONS } from '../../../ztunnel/config.ts'

t.test('both programs have them, and nothing need be given', async (t) => {
  for (const table of [ZTUNNEL_OPTIONS, WAYPOINT_OPTIONS]) t.match(table, DATA_PLANE_OPTIONS)
  t.same(readOptions(DATA_PLANE_OPTIONS, [], {}).mistakes, [])
})

t.test('a collector is a URL, or there is none', async (t) => {
  for (const otlpEndpoint of ['', 'http://collector:4318', 'https://[::1]:4318/v1'])
    t.same(dataPlaneMistakes({ otlpEndpoint }), [], otlpEndpoint)
  for (const otlpEndpoint of ['collector:4318', 'ftp://collector', 'http://', ' '])
    t.match(dataPlaneMistakes({ otlpEndpoint }), [/^SIDESTEP_OTLP_ENDPOINT: /], otlpEndpoint)
})
