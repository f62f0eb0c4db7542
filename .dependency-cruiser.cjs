// SPDX-License-Identifier: Apache-2.0
// The import rules of docs/architecture.md. A test plants a violation of each and expects it to be found.
const tier = (name, tierNumber, forbiddenRooms) => ({
  name,
  severity: 'error',
  comment: `mesh tier ${tierNumber} sees lower tiers only`,
  from: { path: `^mesh/(${name.replace('tier-', '').replaceAll('-and-', '|')})/` },
  to: { path: `^mesh/(${forbiddenRooms})/` },
})
const fence = (name, packages, allowed) => ({
  name,
  severity: 'error',
  from: { path: '^(mesh|ztunnel|waypoint|controller|cli|demo|bench)/', pathNot: allowed },
  to: { path: `node_modules/(${packages})/` },
})
const HIGHER_THAN = {
  errors:
    'runtime|net|reactor|telemetry|kubernetes|tracing|h2|http1|http|identity|model|authz|balance|hbone|redis|grpc|discovery|control|generations|snapshot|admin',
  runtime:
    'reactor|telemetry|kubernetes|tracing|h2|http1|http|identity|model|authz|balance|hbone|redis|grpc|discovery|control|generations|snapshot|admin',
  reactor:
    'tracing|h2|http1|http|identity|model|authz|balance|hbone|redis|grpc|discovery|control|generations|snapshot|admin',
  h2: 'identity|model|authz|balance|hbone|redis|discovery|control|generations|snapshot|admin',
  authz: 'hbone|control|generations|snapshot|admin|balance',
}
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      comment: 'type imports vanish: a cycle that needs one does not exist at run time',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'mesh-imports-no-room',
      severity: 'error',
      from: { path: '^mesh/' },
      to: { path: '^(ztunnel|waypoint|controller|cli|dashboard|demo|bench)/' },
    },
    {
      name: 'rooms-apart',
      severity: 'error',
      from: { path: '^(ztunnel|waypoint|controller|dashboard)/' },
      to: { path: '^(ztunnel|waypoint|controller|cli|dashboard|demo|bench)/', pathNot: '^$1/' },
    },
    {
      name: 'cli-decides-as-nodes-do',
      comment: 'of a node it knows the pure decisions only: a dump is asked as the node would have been',
      severity: 'error',
      from: { path: '^cli/' },
      to: { path: '^(ztunnel|waypoint|controller|dashboard|demo|bench)/', pathNot: '^ztunnel/decide/' },
    },
    {
      name: 'product-imports-no-test',
      severity: 'error',
      from: { path: '^(mesh|ztunnel|waypoint|controller|cli|demo)/' },
      to: { path: '^(test|bench)/' },
    },
    {
      name: 'decisions-do-no-io',
      severity: 'error',
      from: {
        path: '^(ztunnel/decide|waypoint/decide|controller/translate|mesh/authz|mesh/model|mesh/balance)/',
      },
      to: { path: '^(node:)?(net|tls|http|http2|https|fs|fs/promises|child_process|dgram|worker_threads)$' },
    },
    {
      name: 'decisions-carry-nothing',
      severity: 'error',
      from: { path: '^ztunnel/decide/' },
      to: { path: '^ztunnel/(accept|carry|supervisor)/' },
    },
    {
      name: 'translate-knows-no-other-part',
      comment: 'watch → translate → publish: what is translated arrives as an argument',
      severity: 'error',
      from: { path: '^controller/translate/' },
      to: {
        path: '^controller/(kubernetes|watch|publish|ca|provision)/',
        pathNot: '^controller/watch/config-object',
      },
    },
    {
      name: 'provision-knows-no-node',
      comment: 'what runs in the cluster follows from its objects, never from who is connected or certified',
      severity: 'error',
      from: { path: '^controller/provision/' },
      to: { path: '^controller/(publish|ca)/' },
    },
    {
      name: 'carry-below-accept',
      severity: 'error',
      from: { path: '^ztunnel/carry/' },
      to: { path: '^ztunnel/(accept|supervisor)/' },
    },
    tier('tier-errors', 0, HIGHER_THAN.errors),
    tier('tier-runtime-and-net', 1, HIGHER_THAN.runtime),
    tier('tier-reactor-and-telemetry-and-kubernetes', 2, HIGHER_THAN.reactor),
    tier(
      'tier-h2-and-http1-and-http-and-identity-and-model-and-tracing',
      3,
      HIGHER_THAN.h2.replace('identity|model|', ''),
    ),
    tier('tier-authz-and-balance-and-hbone', 4, 'admin|control|generations|snapshot|discovery'),
    fence('koffi-fence', 'koffi', '^mesh/reactor/ffi/'),
    fence('pki-fence', 'pkijs|asn1js|@peculiar', '^mesh/identity/pki\\.ts$'),
    fence('pino-fence', 'pino', '^mesh/runtime/log\\.ts$'),
    fence('redis-fence', 'ioredis', '^mesh/redis/'),
    fence('kubernetes-fence', '@kubernetes', '^(controller/kubernetes/|cli/fleet/cluster\\.ts$)'),
    fence('grpc-fence', '@grpc', '^mesh/(grpc|discovery|identity)/'),
    fence('regex-fence', 're2js', '^(waypoint|controller/translate)/'),
    fence('jose-fence', 'jose', '^(waypoint/tokens/|bench/)'),
    fence('commander-fence', 'commander', '^(cli/main\\.ts$|demo/|bench/)'),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { conditionNames: ['import', 'node', 'default'] },
  },
}
