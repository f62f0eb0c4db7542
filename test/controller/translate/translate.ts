// SPDX-License-Identifier: Apache-2.0
// Golden files: test/fixtures/translate/<case>.yaml is translated and compared with <case>.json. After a wanted change
// `npm run golden:update` writes them anew; read the difference before it is committed.
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { toJson } from '@bufbuild/protobuf'
import t from 'tap'
import type { RouteParentState, RouteState } from '../../../controller/translate/routes/route-state.ts'
import { Translator } from '../../../controller/translate/translate.ts'
import type { TranslateSettings, Translation } from '../../../controller/translate/translation.ts'
import { refKey } from '../../../controller/watch/config-object.ts'
import { AuthorizationSchema } from '../../../proto/generated/istio/authorization_pb.js'
import { ServiceSchema, WorkloadSchema } from '../../../proto/generated/istio/workload_pb.js'
import { RequestPoliciesSchema } from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import { ServiceRoutesSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { RequestTelemetrySchema } from '../../../proto/generated/sidestep/v1/telemetry_pb.js'
import { TrafficPolicySchema } from '../../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import { EXTENSIONS, SETTINGS, translateYaml } from '../../support/translated.ts'
import { parseObjects, viewOf } from '../../support/yaml-objects.ts'

const KINDS = [
  ...(['workloads', 'services', 'authorizations', 'routes', 'trafficPolicies', 'requestPolicies'] as const),
  'requestTelemetry' as const,
]
const directory = join(import.meta.dirname, '..', '..', 'fixtures', 'translate')
const isUpdate = process.argv.includes('--update')
/** Cases of a mesh that is not as others are. */
const SETTINGS_OF: Readonly<Record<string, Partial<TranslateSettings>>> = {
  'enrolment-told': { enrolmentIsTold: true },
}

/** A translation as people compare it; everything in the order in which it comes. */
function render(translation: Translation): string {
  const { workloads, services, authorizations, findings, enforcement } = translation
  const json = {
    workloads: [...workloads].map(([key, each]) => [
      key,
      toJson(WorkloadSchema, each, { registry: EXTENSIONS }),
    ]),
    services: [...services].map(([key, each]) => [
      key,
      toJson(ServiceSchema, each, { registry: EXTENSIONS }),
    ]),
    authorizations: [...authorizations].map(([key, each]) => [key, toJson(AuthorizationSchema, each)]),
    ...renderRoutes(translation),
    enforcement: enforcement.map(({ object, kind, message, caveat, selects, waypoints }) => {
      const labels = Object.entries(selects?.labels ?? {}).map(([key, value]) => ` ${key}=${value}`)
      const place = selects === null ? '' : ` [${selects.namespace ?? 'mesh'}${labels.join('')}]`
      const by = waypoints.length === 0 ? '' : ` [waypoints ${waypoints.join(' ')}]`
      return `${refKey(object)} ${kind}${caveat === null ? '' : `, ${caveat}`}: ${message}${place}${by}`
    }),
    findings: findings.map(
      ({ code, severity, object, path, message, fix }) =>
        `${severity} ${code} ${refKey(object)} ${path}: ${message}; ${fix}`,
    ),
  }
  const entries = Object.entries(json).map(([key, value]) => [
    key,
    value.every((each) => typeof each === 'string')
      ? value
      : Object.fromEntries(value as [string, unknown][]), // as: pairs, see above
  ])
  return `${JSON.stringify(Object.fromEntries(entries), null, 1)}\n`
}

const namesOf = (extension: string): string[] =>
  globSync(`*${extension}`, { cwd: directory })
    .map((file) => basename(file, extension))
    .toSorted()
const cases = namesOf('.yaml')
const textOf = (name: string): string => readFileSync(join(directory, `${name}.yaml`), 'utf8')

/** Nothing where there are none. */
function renderRoutes(translation: Translation) {
  const { routes, trafficPolicies, requestPolicies, requestTelemetry, waypointScopes, routeStates } =
    translation
  const parentText = ({ ref, reason, message }: RouteParentState): string =>
    `${JSON.stringify(ref)} ${reason}: ${message}`
  const stateText = ({ object, parents, badRef, refused }: RouteState): string[] => [
    ...[refKey(object), ...parents.map(parentText)],
    ...(badRef === null ? [] : [`${badRef.reason}: ${badRef.message}`]),
    ...(refused === null ? [] : [refused]),
  ]
  return {
    ...(routes.size > 0 && {
      routes: [...routes].map(([key, each]) => [key, toJson(ServiceRoutesSchema, each)]),
      waypointScopes: [...waypointScopes],
    }),
    ...(trafficPolicies.size > 0 && {
      trafficPolicies: [...trafficPolicies].map(([key, each]) => [key, toJson(TrafficPolicySchema, each)]),
    }),
    ...(requestPolicies.size > 0 && {
      requestPolicies: [...requestPolicies].map(([key, each]) => [key, toJson(RequestPoliciesSchema, each)]),
    }),
    ...(requestTelemetry.size > 0 && {
      requestTelemetry: [...requestTelemetry].map(([key, each]) => [
        key,
        toJson(RequestTelemetrySchema, each),
      ]),
    }),
    ...(routeStates.length > 0 && { routeStates: routeStates.map((each) => stateText(each).join(' | ')) }),
  }
}

t.test('every case of the golden files is translated as it stands there', async (t) => {
  t.ok(cases.length >= 12)
  for (const name of cases) {
    const path = join(directory, `${name}.json`)
    const rendered = render(translateYaml(textOf(name), SETTINGS_OF[name]))
    if (isUpdate) writeFileSync(path, rendered)
    t.equal(readFileSync(path, 'utf8'), rendered, name)
  }
  t.same(namesOf('.json'), cases)
})

t.test('the same objects in any order and on a second translation give the same resources', async (t) => {
  for (const file of cases) {
    const objects = parseObjects(textOf(file))
    const translator = new Translator(SETTINGS)
    const first = translator.translate(viewOf(objects))
    const second = translator.translate(viewOf(objects.toReversed()))
    for (const kind of KINDS) {
      t.equal(second[kind].size, first[kind].size, `${file}: ${kind}`)
      for (const [key, each] of first[kind]) t.equal(second[kind].get(key), each, `${file}: ${key}`)
    }
    t.same(second.findings, first.findings, `${file}: findings`)
  }
})
