// SPDX-License-Identifier: Apache-2.0
import { hostname } from 'node:os'
import t from 'tap'
import { environmentName, flagName } from '../../mesh/runtime/options.ts'
import { readConfig, ZTUNNEL_OPTIONS } from '../../ztunnel/config.ts'

const PATHS = ['--config-file', 'c', '--enrolment-file', 'e', '--ca-directory', 'd']

t.test('three paths are needed, everything else has a default that works', async (t) => {
  const { options, mistakes } = readConfig(PATHS, {})
  t.same(mistakes, [])
  t.same(options, {
    ...{ strictGuard: true, dnsCapture: true, clusterDomain: 'cluster.local' },
    ...{ otlpEndpoint: '', otlpSamplesPerMillion: 10_000 },
    certificateGraceDays: 0,
    ...{ nodeName: hostname(), network: '', configFile: 'c', enrolmentFile: 'e', caDirectory: 'd' },
    ...{
      trustDomain: 'cluster.local',
      adminSocket: '/run/sidestep/admin.sock',
      workerCount: 2,
      statusPort: 0,
    },
    ...{ records: 'stdout', logLevel: 'info', redirect: true, originalSource: true, socks5: false },
    ...{ ipv6: true, drainSeconds: 5, certificateTtlSeconds: 86_400, capture: false },
    ...{ upgradeDrainSeconds: 0, dataProgram: '' },
    ...{ podConnections: 32_768, podConnectionsPerSecond: 20_000, podHandshakesPerSecond: 2000 },
    ...{
      podBufferedBytes: 50_331_648,
      workerBufferedBytes: 67_108_864,
      halfCloseSeconds: 3600,
      turnBytes: 131_072,
      turnHandshakes: 2,
    },
    ...{ keepaliveIdleSeconds: 180, keepaliveIntervalSeconds: 180, keepaliveProbes: 9 },
    ...{ controllerAddresses: '', controllerRoots: '', controllerToken: '', caAddresses: '' },
    onDemand: false,
    ...{ clusterId: 'Kubernetes', stateDirectory: '/var/lib/sidestep', podName: '', instanceIp: '' },
    ...{ serviceAccount: '', hostIp: '', ownListener: true },
    ...{ podNamespace: 'istio-system', zdsSocket: '', kubernetesEnrolment: false },
    ...{ apiserverHost: '', apiserverPort: 443, hostProcPath: '/proc', hostNetworkPath: '/proc/1/ns/net' },
    serviceAccountDirectory: '/var/run/secrets/kubernetes.io/serviceaccount',
    ...{ cniSpoolDirectory: '', cniBinDirectory: '', cniConfDirectory: '' },
    ...{
      cniTimeoutMs: 2000,
      cniOnTimeout: 'start',
      cniAlwaysStart: 'istio-system,kube-system',
      cniBootSeconds: 120,
    },
  })
  t.same(
    readConfig([], {}).mistakes.map((each) => each.split(':')[0]),
    ['SIDESTEP_CONFIG_FILE', 'SIDESTEP_CA_DIRECTORY', 'SIDESTEP_ENROLMENT_FILE'],
  )
})

t.test('model and certificates come from one place each', async (t) => {
  const named = (args: readonly string[]): string[] =>
    readConfig(['--enrolment-file', 'e', ...args], {}).mistakes.map((each) => each.split(':')[0] ?? '')
  t.same(named(['--controller-addresses', 'c:15012']), [])
  t.same(named(['--controller-addresses', 'c:15012', '--ca-directory', 'd']), [])
  t.same(named(['--config-file', 'f', '--ca-addresses', 'c:15012']), [])
  t.same(named(['--config-file', 'f', '--controller-addresses', 'c:15012']), ['SIDESTEP_CONFIG_FILE'])
  t.same(named(['--config-file', 'f']), ['SIDESTEP_CA_DIRECTORY'])
  t.same(named(['--config-file', 'f', '--ca-directory', 'd', '--ca-addresses', 'c:1']), [
    'SIDESTEP_CA_DIRECTORY',
  ])
})

t.test('what is known on demand comes from a controller, and no names are asked of it', async (t) => {
  const rest = ['--enrolment-file', 'e', '--on-demand', 'true']
  const named = (args: readonly string[]): string[] => [...readConfig([...rest, ...args], {}).mistakes]
  const controller = ['--controller-addresses', 'c:15012']
  t.same(named([...controller, '--dns-capture', 'false']), [])
  t.match(named(controller), [/^SIDESTEP_ON_DEMAND: not together/])
  t.match(named([...controller, '--dns-capture', 'false', '--socks5', 'true']), [/^SIDESTEP_ON_DEMAND: not/])
  t.match(named(['--config-file', 'f', '--ca-directory', 'd', '--dns-capture', 'false']), [
    /^SIDESTEP_ON_DEMAND: only with/,
  ])
})

t.test('pods come from a file, from one agent, or from a file and an agent', async (t) => {
  const rest = ['--config-file', 'f', '--ca-directory', 'd']
  t.same(readConfig([...rest, '--zds-socket', 's'], {}).mistakes, [])
  t.same(readConfig([...rest, '--zds-socket', 's', '--enrolment-file', 'e'], {}).mistakes, [])
  t.equal(readConfig(rest, { INPOD_UDS: '/var/run/ztunnel/ztunnel.sock' }).mistakes.length, 0)
  t.equal(readConfig(rest, {}).mistakes.length, 1)
  const kubernetes = [...rest, '--kubernetes-enrolment']
  const pod = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' }
  const { options, mistakes } = readConfig(kubernetes, pod)
  t.same([mistakes, options.apiserverHost, options.apiserverPort], [[], 'fd00::1', 6443])
  t.same(readConfig([...kubernetes, '--enrolment-file', 'e'], pod).mistakes, [])
  t.match(readConfig([...kubernetes, '--zds-socket', 's'], pod).mistakes.join(), /^SIDESTEP_KUBERNETES_E/)
  t.match(readConfig(kubernetes, {}).mistakes.join(), /^SIDESTEP_APISERVER_HOST/)
})

t.test('the CNI plugin needs an agent behind it, and a spool that a shell can name', async (t) => {
  const pod = { KUBERNETES_SERVICE_HOST: 'h', SIDESTEP_KUBERNETES_ENROLMENT: 'true' }
  const mistakes = (env: Readonly<Record<string, string>>): string =>
    readConfig(['--config-file', 'f', '--ca-directory', 'd', '--enrolment-file', 'e'], env).mistakes.join()
  const places = { SIDESTEP_CNI_BIN_DIRECTORY: '/opt/cni/bin', SIDESTEP_CNI_CONF_DIRECTORY: '/etc/cni/net.d' }
  const spool = { SIDESTEP_CNI_SPOOL_DIRECTORY: '/run/sidestep-cni' }
  t.equal(mistakes({ ...pod, ...spool, ...places }), '')
  t.equal(mistakes({ ...pod, ...spool }), '', 'installed by somebody else')
  t.match(mistakes({ ...spool }), /^SIDESTEP_CNI_SPOOL_DIRECTORY: only with/)
  t.match(mistakes({ ...pod, ...places }), /^SIDESTEP_CNI_BIN_DIRECTORY/)
  for (const path of ['relative', '/with space', '/"', '/$x'])
    t.match(mistakes({ ...pod, SIDESTEP_CNI_SPOOL_DIRECTORY: path }), /absolute path/, path)
  t.match(mistakes({ ...pod, ...spool, SIDESTEP_CNI_ALWAYS_START: 'a b' }), /^SIDESTEP_CNI_ALWAYS_START/)
})

t.test('the names of Istio’s ztunnel are understood, ours win', async (t) => {
  const istio = {
    ...{ NODE_NAME: 'n', NETWORK: 'net', LOCAL_XDS_PATH: 'f', ENABLE_ORIG_SRC: 'false' },
    ...{ UNSTABLE_ENABLE_SOCKS5: 'true', IPV6_ENABLED: 'false' },
  }
  const rest = ['--enrolment-file', 'e', '--ca-directory', 'd']
  t.match(readConfig(rest, istio), {
    options: {
      ...{ nodeName: 'n', network: 'net', configFile: 'f', originalSource: false, socks5: true, ipv6: false },
    },
  })
  t.same(readConfig(rest, istio).mistakes, [])
  t.equal(readConfig(rest, { ...istio, SIDESTEP_NODE_NAME: 'ours' }).options.nodeName, 'ours')
})

t.test('a collector of spans is a URL, also under the name that OpenTelemetry gives it', async (t) => {
  t.equal(
    readConfig(PATHS, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318' }).options.otlpEndpoint,
    'http://c:4318',
  )
  t.same(readConfig([...PATHS, '--otlp-endpoint', 'https://c/otlp'], {}).mistakes, [])
  for (const text of ['collector:4318', 'c', 'ftp://c', 'http://'])
    t.match(readConfig([...PATHS, '--otlp-endpoint', text], {}).mistakes, [/^SIDESTEP_OTLP_ENDPOINT/], text)
})

t.test('numbers have bounds and closed sets are closed', async (t) => {
  for (const [flag, good, bad] of [
    ['--worker-count', ['1', '64'], ['0', '65', '2.5', '']],
    ['--drain-seconds', ['0', '86400'], ['86401', '-1', '5s']],
    ['--log-level', ['trace', 'silent'], ['verbose', 'INFO', '']],
    ['--redirect', ['true', 'false'], ['1', 'on', '']],
  ] as const) {
    for (const text of good) t.same(readConfig([...PATHS, `${flag}=${text}`], {}).mistakes, [])
    for (const text of bad)
      t.equal(readConfig([...PATHS, `${flag}=${text}`], {}).mistakes.length, 1, flag + text)
  }
})

t.test('every option says what it means, and no two have one name', async (t) => {
  const names: string[] = []
  for (const [key, spec] of Object.entries(ZTUNNEL_OPTIONS)) {
    t.ok(spec.meaning.length > 10, key)
    names.push(flagName(key), environmentName(key), ...('synonyms' in spec ? spec.synonyms : []))
    if ('default' in spec) {
      // These mean "somewhere else" when they are empty.
      const isElsewhere = ['configFile', 'caDirectory', 'enrolmentFile'].includes(key)
      const rest = isElsewhere ? ['--zds-socket', 's', '--controller-addresses', 'c:1'] : PATHS
      const { mistakes } = readConfig([...rest, `${flagName(key)}=${spec.default}`], {})
      t.same(mistakes, [], `the default of ${key} is a value`)
    }
  }
  t.equal(new Set(names).size, names.length)
})
