// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MAX_NAMED_LABELS } from '../../../controller/translate/named-labels.ts'
import { Translator } from '../../../controller/translate/translate.ts'
import { untoldFindings } from '../../../controller/translate/untold-labels.ts'
import { SETTINGS } from '../../support/translated.ts'
import { parseObjects, viewOf } from '../../support/yaml-objects.ts'

const ROUTES = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http:
  - {match: [{uri: {prefix: /}}, {sourceLabels: {zz-late: gold, app: x}}], route: [{destination: {host: web}}]}
  - {route: [{destination: {host: web}}]}
  - {match: wrong}
  tls:
  - {match: [{sniHosts: [a], sourceLabels: {zz-late: y}}], route: [{destination: {host: web}}]}
  tcp:
  - {match: [{port: 1, sourceLabels: {app: y}}], route: [{destination: {host: web}}]}
`
const subsets = (...names: readonly string[]): string => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, subsets: [${names.map((name, at) => `{name: s${at}, labels: {${name}: v}}`).join(', ')}]}
`
const service = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wp, namespace: shop}
spec: {gatewayClassName: sidestep-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.96.0.20}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, annotations: {sidestep.dev/waypoint: wp}}
spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{name: http, port: 80}]}
`

t.test('each place that names what is not told is said, and no other', async (t) => {
  const view = viewOf(parseObjects([ROUTES, subsets('app', 'zz.io/late', 'zz-late')].join('---')))
  const findings = untoldFindings(view, new Set(['zz-late', 'zz.io/late']))
  t.same(
    findings.map(({ code, object, path }) => `${code} ${object.kind} ${path}`),
    [
      'LABEL_NOT_TOLD VirtualService spec.http[0].match[1].sourceLabels.zz-late',
      'LABEL_NOT_TOLD VirtualService spec.tls[0].match[0].sourceLabels.zz-late',
      'LABEL_NOT_TOLD DestinationRule spec.subsets[1].labels.zz.io/late',
      'LABEL_NOT_TOLD DestinationRule spec.subsets[2].labels.zz-late',
    ],
  )
  t.same(untoldFindings(view, new Set()), [])
})

t.test('the translation says it while there are too many, and not when some have gone', async (t) => {
  const names = Array.from({ length: MAX_NAMED_LABELS + 1 }, (_, at) => `l${String(at).padStart(4, '0')}`)
  const translator = new Translator(SETTINGS)
  const untold = (...labels: readonly string[]): string[] =>
    translator
      .translate(viewOf(parseObjects([service, subsets(...labels)].join('---'))))
      .findings.filter(({ code }) => code === 'LABEL_NOT_TOLD')
      .map(({ path }) => path)
  t.same(untold(...names), [`spec.subsets[${MAX_NAMED_LABELS}].labels.${names.at(-1)}`])
  t.same(untold(...names.slice(1)), [])
})
