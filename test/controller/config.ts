// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { CONTROLLER_OPTIONS, readConfig } from '../../controller/config.ts'
import { parseRedisAddresses } from '../../controller/redis-address.ts'
import { environmentName, flagName } from '../../mesh/runtime/options.ts'

t.test('a directory is needed, everything else has a default that works', async (t) => {
  const { options, mistakes } = readConfig(['--config-directory', 'd'], {})
  t.same(mistakes, [])
  t.match(options, {
    ...{ configDirectory: 'd', listenHost: '::', listenPort: 15_012, trustDomain: 'cluster.local' },
    ...{ rootNamespace: 'istio-system', clusterId: 'Kubernetes', autoAddressRange: '240.240.0.0/16' },
  })
  t.ok(options.serverNames.split(',').includes('istiod.istio-system.svc'), 'what Istio’s ztunnel dials')
  t.match(readConfig([], {}).mistakes, [/^SIDESTEP_CONFIG_DIRECTORY/])
})

t.test('every option says what it means, and no two have one name', async (t) => {
  const names = Object.keys(CONTROLLER_OPTIONS).flatMap((key) => [flagName(key), environmentName(key)])
  t.equal(new Set(names).size, names.length)
  for (const { meaning } of Object.values(CONTROLLER_OPTIONS)) t.ok(meaning.length > 10)
})

/** The mistakes these options make. */
const mistakesOf = (...args: string[]): readonly string[] => readConfig(args, {}).mistakes
const DIRECTORY = ['--config-directory', 'd']
const REDIS = ['--config-source', 'redis', '--redis-addresses', 'redis://r:6379']

t.test('a contradiction is one mistake, which names the option', async (t) => {
  const cases: readonly (readonly [args: readonly string[], mistake: RegExp | null])[] = [
    [REDIS, null],
    [
      ['--config-source', 'redis'],
      /^SIDESTEP_REDIS_ADDRESSES: is required when SIDESTEP_CONFIG_SOURCE is redis$/,
    ],
    [
      [...REDIS, ...DIRECTORY],
      /^SIDESTEP_CONFIG_DIRECTORY: means nothing when SIDESTEP_CONFIG_SOURCE is redis$/,
    ],
    [[...DIRECTORY, '--redis-addresses', 'redis://r'], /^SIDESTEP_REDIS_ADDRESSES: means nothing/],
    [
      [...DIRECTORY, '--config-source', 'etcd'],
      /^--config-source: must be one of directory, redis, kubernetes, not 'etcd'$/,
    ],
    [[...REDIS, '--redis-user', 'mesh'], /^SIDESTEP_REDIS_USER: needs a password file$/],
    [[...REDIS, '--redis-user', 'mesh', '--redis-password-file', 'p'], null],
    [[...REDIS, '--redis-ca-file', 'ca.pem'], /^SIDESTEP_REDIS_CA_FILE: means nothing without a rediss:/],
    [
      [...REDIS.slice(0, 3), 'rediss://r', '--redis-key-file', 'k'],
      /^SIDESTEP_REDIS_CERTIFICATE_FILE: needs/,
    ],
    [[...REDIS, '--redis-prefix', 'a*'], /^SIDESTEP_REDIS_PREFIX: /],
    [
      [...DIRECTORY, '--ca-source', 'cacerts'],
      /^SIDESTEP_CACERTS_DIRECTORY: is required when SIDESTEP_CA_SOURCE/,
    ],
    [
      [...DIRECTORY, '--vault-role', 'r'],
      /^SIDESTEP_VAULT_ROLE: means nothing when SIDESTEP_CA_SOURCE is embedded/,
    ],
  ]
  for (const [args, mistake] of cases) {
    const mistakes = mistakesOf(...args)
    t.equal(mistakes.length, mistake === null ? 0 : 1, `${args.join(' ')}: ${mistakes.join()}`)
    if (mistake !== null) t.match(mistakes[0], mistake)
  }
})

t.test('addresses of Redis are URLs without secrets', async (t) => {
  t.same(parseRedisAddresses('redis://a, rediss://b:7000,redis://[::1]:1/0'), [
    { host: 'a', port: 6379, isTls: false },
    { host: 'b', port: 7000, isTls: true },
    { host: '::1', port: 1, isTls: false },
  ])
  const wrong = [
    'r:6379',
    'http://r',
    'redis://',
    '',
    'redis://a,',
    'redis://a:b@r',
    'redis://u@r',
    'redis://r/1',
  ]
  for (const text of [...wrong, 'redis://r?db=1', 'redis://r:99999', 'redis://r#x'])
    t.type(parseRedisAddresses(text), 'string', text)
  t.notMatch(parseRedisAddresses('redis://:hunter2@r'), /hunter2/)
})

t.test('a CA elsewhere needs to be told how', async (t) => {
  const istio = [...DIRECTORY, '--ca-source', 'istio', '--ca-roots-file', 'r', '--ca-address']
  t.same(mistakesOf(...istio, 'istiod:15012'), [])
  t.match(mistakesOf(...istio, 'https://istiod:15012')[0], /^SIDESTEP_CA_ADDRESS: must be host:port/)
  t.equal(mistakesOf(...DIRECTORY, '--ca-source', 'istio').length, 2)
  const vault = [
    ...istio.slice(0, 3),
    'vault',
    '--ca-roots-file',
    'r',
    '--ca-token-file',
    't',
    '--vault-role',
    'm',
  ]
  for (const address of ['https://vault:8200', 'http://127.0.0.1:8200', 'http://[::1]:8200'])
    t.same(mistakesOf(...vault, '--ca-address', address), [], address)
  for (const address of ['http://vault:8200', 'vault:8200', 'http://127.0.0.1.evil.example', 'x'])
    t.match(mistakesOf(...vault, '--ca-address', address)[0], /^SIDESTEP_CA_ADDRESS: must be a URL/, address)
})

t.test('how waypoints log and trace is checked before it is told to any', async (t) => {
  const format = ['--waypoint-access-log-format', '%DURATION%']
  t.match(mistakesOf(...DIRECTORY, ...format)[0], /^SIDESTEP_WAYPOINT_ACCESS_LOG_FORMAT: only with/)
  t.same(mistakesOf(...DIRECTORY, '--waypoint-access-log', 'text', ...format), [])
  t.match(mistakesOf(...DIRECTORY, '--waypoint-otlp-endpoint', 'collector')[0], /must be a URL/)
  t.same(mistakesOf(...DIRECTORY, '--waypoint-otlp-endpoint', 'http://collector:4318'), [])
})
