// SPDX-License-Identifier: Apache-2.0
// The conformance suite of the Gateway API against the mesh on two real nodes: profiles MESH-HTTP and MESH-GRPC, all features
// of a mesh. Every test of the suite is one line here, and its report is the one in docs/conformance (but for its date).
// usage: node test/conformance/mesh.ts [--update: writes the report] [--only=TEST: one test of the suite, without report]
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import t from 'tap'
import { parse } from 'yaml'
import { gatewayConformanceBinary } from '../../scripts/gateway-conformance.ts'
import { Cluster } from '../support/cluster.ts'
import { ROOT } from '../support/documents.ts'
import { ECHO_IMAGE, writeEchoImage } from '../support/echo-image.ts'
import { keepEvidence } from '../support/lab-evidence.ts'

const SYSTEM = 'istio-system'
const NODES = ['node1', 'node2']
const GATEWAY = 'sidestep-waypoint'
const TEST_MS = 590_000
const PROFILES = ['MESH-HTTP', 'MESH-GRPC']
/** All that the suite knows of meshes, and of routes what its tests of meshes ask for besides. */
const FEATURES = [
  ...['Mesh', 'MeshClusterIPMatching', 'MeshConsumerRoute', 'MeshHTTPRouteRewritePath'],
  ...['MeshHTTPRouteSchemeRedirect', 'MeshHTTPRouteRedirectPort', 'MeshHTTPRouteRedirectPath'],
  ...['MeshHTTPRouteBackendRequestHeaderModification', 'MeshHTTPRouteQueryParamMatching'],
  ...['MeshHTTPRouteNamedRouteRule', 'HTTPRouteResponseHeaderModification', 'HTTPRouteParentRefPort'],
  ...['HTTPRoute303RedirectStatusCode', 'HTTPRoute307RedirectStatusCode', 'HTTPRoute308RedirectStatusCode'],
]
const LABELS = { 'sidestep.dev/mode': 'ambient' }
const ANNOTATIONS = { 'sidestep.dev/waypoint': 'auto' }
const MESH_NAMESPACES = ['gateway-conformance-mesh', 'gateway-conformance-mesh-consumer']
/** The suite waits for a pod in each, which only its tests of gateways make: gateway-api pull request 4934. */
const AWAITED_NAMESPACES = ['gateway-conformance-app-backend', 'gateway-conformance-web-backend']

interface Report {
  readonly gatewayAPIVersion: string
  readonly profiles: readonly {
    readonly name: string
    readonly extended?: { unsupportedFeatures?: unknown }
  }[]
  readonly date?: string
}
/** The end of one test of the suite, or of a part of one. */
interface Outcome {
  readonly name: string
  readonly result: string
  readonly seconds: string
}

const { values } = parseArgs({
  options: { update: { type: 'boolean', default: false }, only: { type: 'string', default: '' } },
})
t.setTimeout(TEST_MS)
const work = join(ROOT, 'tmp', 'conformance')
mkdirSync(work, { recursive: true })
const reportFile = join(work, 'report.yaml')
const logFile = join(work, 'suite.log')
const binary = await gatewayConformanceBinary()
const cluster = await Cluster.open({ nodes: NODES })
t.teardown(() => cluster.close())
t.afterEach((step) => {
  if (!step.passing()) t.comment(`see ${logFile} and ${keepEvidence(cluster, NODES, step.name)}`)
})
const kubectl = (...args: readonly string[]): Promise<string> => cluster.kubectl(...args)

const namespace = (name: string, labels: object, annotations: object): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels, annotations } })
const idlePod = (space: string): string =>
  `{apiVersion: v1, kind: Pod, metadata: {name: idle, namespace: ${space}}, ` +
  `spec: {terminationGracePeriodSeconds: 0, containers: [{name: idle, image: '${ECHO_IMAGE}', imagePullPolicy: Never}]}}`
const pairs = (record: Readonly<Record<string, string>>): string =>
  Object.entries(record)
    .map(([name, value]) => `${name}=${value}`)
    .join(',')

/** Runs the suite to its end; what it says is in its log. */
async function runSuite(): Promise<readonly Outcome[]> {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string } // as: npm's
  const options = {
    ...{ 'conformance-profiles': PROFILES.join(','), 'supported-features': FEATURES.join(',') },
    ...{ 'namespace-labels': pairs(LABELS), 'namespace-annotations': pairs(ANNOTATIONS) },
    ...{ organization: 'sidestep', project: 'sidestep', url: 'https://sidestep.dev', version },
    ...{ contact: 'https://sidestep.dev', mode: 'default', 'gateway-class': GATEWAY },
    ...(values.only === '' ? { 'report-output': reportFile } : { 'run-test': values.only }),
  }
  const flags = Object.entries(options).map(([name, value]) => `-${name}=${value}`)
  const child = spawn(binary, ['-test.v', `-test.timeout=${TEST_MS}ms`, ...flags], {
    env: { ...process.env, KUBECONFIG: cluster.kubeconfig },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log = createWriteStream(logFile)
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => log.write(chunk))
  await once(child, 'close')
  log.end()
  await finished(log)
  const ends = readFileSync(logFile, 'utf8').matchAll(/^ *--- (PASS|FAIL|SKIP): (\S+) \(([\d.]+)s\)$/gm)
  return [...ends].map(([, result = '', name = '', seconds = '']) => ({ name, result, seconds }))
}

/** A report without what differs from run to run. */
function comparable(text: string): object {
  const { date: _, profiles, ...rest } = parse(text) as Report // as: the suite's own form
  return { ...rest, profiles: profiles.toSorted((a, b) => a.name.localeCompare(b.name)) }
}

t.test('a mesh, and the namespaces of the suite in it, each with a waypoint', async (t) => {
  await cluster.loadSidestep()
  writeEchoImage(join(work, 'echo.tar'))
  await cluster.loadImage(join(work, 'echo.tar'))
  await kubectl('apply', '-f', join(ROOT, 'daemonset.yaml'))
  await kubectl('-n', SYSTEM, 'rollout', 'status', 'deployment/sidestep-controller', '--timeout=60s')
  await kubectl('-n', SYSTEM, 'rollout', 'status', 'daemonset/ztunnel', '--timeout=60s')
  const objects = [
    ...MESH_NAMESPACES.map((name) => namespace(name, LABELS, ANNOTATIONS)),
    ...AWAITED_NAMESPACES.flatMap((name) => [namespace(name, {}, {}), idlePod(name)]),
  ]
  await cluster.apply(objects.join('\n---\n'))
  for (const space of MESH_NAMESPACES) {
    await kubectl('-n', space, 'wait', `gateway/${GATEWAY}`, '--for=create', '--timeout=60s')
    const programmed = ['--for=condition=Programmed', '--timeout=90s']
    await kubectl('-n', space, 'wait', `gateway/${GATEWAY}`, ...programmed)
    t.pass(`the waypoint of ${space} is ready`)
  }
})

t.test('the tests of meshes', async (t) => {
  const outcomes = await runSuite()
  const ofMeshes = outcomes.filter(({ name }) => name.startsWith('TestConformance/Mesh'))
  const isAsked = (name: string): boolean => values.only === '' || name.split('/')[1] === values.only
  for (const { name, result, seconds } of ofMeshes.filter(({ name }) => isAsked(name)))
    t.equal(result, 'PASS', `${name.slice('TestConformance/'.length)} (${seconds} s)`)
  t.equal(outcomes.find(({ name }) => name === 'TestConformance')?.result, 'PASS', 'the suite as a whole')
  const others = outcomes.filter((each) => !ofMeshes.includes(each))
  t.comment(`${others.filter(({ result }) => result === 'SKIP').length} tests of gateways are not asked for`)
})

if (values.only === '')
  t.test('the report is the one that is published', async (t) => {
    const text = readFileSync(reportFile, 'utf8')
    const { gatewayAPIVersion, profiles } = parse(text) as Report // as: the suite's own form
    t.same(profiles.map(({ name }) => name).toSorted(), PROFILES.toSorted())
    for (const { name, extended } of profiles)
      t.equal(extended?.unsupportedFeatures, undefined, `${name} leaves nothing out`)
    const published = join(ROOT, 'docs', 'conformance', `${gatewayAPIVersion}-mesh.yaml`)
    if (values.update) writeFileSync(published, text)
    t.same(comparable(text), comparable(readFileSync(published, 'utf8')))
  })
