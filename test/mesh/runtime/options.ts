// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { environmentName, flagName, type OptionTable, readOptions } from '../../../mesh/runtime/options.ts'

const TABLE = {
  nodeName: { type: 'text', default: 'here', meaning: 'name', synonyms: ['NODE_NAME'] },
  configFile: { type: 'path', meaning: 'the file' },
  workerCount: { type: 'integer', default: '2', min: 1, max: 64, meaning: 'threads' },
  sizeBytes: { type: 'integer', default: '0', meaning: 'size' },
  ipv6: { type: 'boolean', default: 'true', meaning: 'IPv6 too' },
  logLevel: { type: 'text', default: 'info', choices: ['info', 'debug'], meaning: 'log' },
} as const satisfies OptionTable
const read = (args: readonly string[], environment: Readonly<Record<string, string>> = {}) =>
  readOptions(TABLE, args, environment)
const FILE = ['--config-file', 'f']

t.test('flag and environment name come from the key', async (t) => {
  for (const [key, flag, variable] of [
    ['nodeName', '--node-name', 'SIDESTEP_NODE_NAME'],
    ['ipv6', '--ipv6', 'SIDESTEP_IPV6'],
    ['originalSourceIp', '--original-source-ip', 'SIDESTEP_ORIGINAL_SOURCE_IP'],
  ] as const) {
    t.equal(flagName(key), flag)
    t.equal(environmentName(key), variable)
  }
})

t.test('what is not said is the default, and the result cannot be changed', async (t) => {
  const { options, mistakes } = read(FILE)
  t.same(mistakes, [])
  t.same(options, {
    ...{ nodeName: 'here', configFile: 'f', workerCount: 2, sizeBytes: 0, ipv6: true, logLevel: 'info' },
  })
  t.ok(Object.isFrozen(options))
})

t.test('a flag beats the environment, our variable beats the synonym, that beats the default', async (t) => {
  const synonym = { NODE_NAME: 'synonym' }
  const both = { ...synonym, SIDESTEP_NODE_NAME: 'variable' }
  t.equal(read(FILE, synonym).options.nodeName, 'synonym')
  t.equal(read(FILE, both).options.nodeName, 'variable')
  t.equal(read([...FILE, '--node-name', 'flag'], both).options.nodeName, 'flag')
  t.same(read([...FILE, '--worker-count', '3'], { SIDESTEP_WORKER_COUNT: 'x' }).mistakes, [])
})

t.test('flags may be written in every usual way', async (t) => {
  const cases: (readonly [readonly string[], object])[] = [
    [['--node-name=a=b'], { nodeName: 'a=b' }],
    [['--node-name', 'a'], { nodeName: 'a' }],
    [['--node-name='], { nodeName: '' }],
    [['--node-name=--odd'], { nodeName: '--odd' }],
    [['--node-name=two\nlines'], { nodeName: 'two\nlines' }],
    [['--ipv6'], { ipv6: true }],
    [['--ipv6', '--node-name', 'a'], { ipv6: true, nodeName: 'a' }],
    [['--ipv6', 'false'], { ipv6: false }],
    [['--ipv6=false'], { ipv6: false }],
    [['--worker-count', '64'], { workerCount: 64 }],
    [['--size-bytes', '999999999999999'], { sizeBytes: 999_999_999_999_999 }],
    [['--node-name', 'a', '--node-name', 'b'], { nodeName: 'b' }],
  ]
  for (const [args, expected] of cases) {
    const { options, mistakes } = read([...FILE, ...args])
    t.same(mistakes, [], args.join(' '))
    t.match(options, expected, args.join(' '))
  }
})

t.test('a mistake is named with its source and what is wrong', async (t) => {
  const cases: (readonly [readonly string[], Readonly<Record<string, string>>, string])[] = [
    [['--node-nmae', 'x'], {}, '--node-nmae: unknown option'],
    [['x'], {}, 'x: unknown option'],
    [['--constructor', 'x'], {}, '--constructor: unknown option'],
    [['--node-name'], {}, '--node-name: needs a value'],
    [['--node-name', '--ipv6'], {}, '--node-name: needs a value'],
    [['--worker-count', '--ipv6'], {}, '--worker-count: needs a value'],
    [['--worker-count', '0'], {}, "--worker-count: must be a whole number from 1 to 64, not '0'"],
    [['--worker-count', '65'], {}, "--worker-count: must be a whole number from 1 to 64, not '65'"],
    [['--worker-count', '1e1'], {}, "--worker-count: must be a whole number from 1 to 64, not '1e1'"],
    [['--worker-count', ' 2'], {}, "--worker-count: must be a whole number from 1 to 64, not ' 2'"],
    [['--worker-count', '-2'], {}, "--worker-count: must be a whole number from 1 to 64, not '-2'"],
    [['--worker-count='], {}, "--worker-count: must be a whole number from 1 to 64, not ''"],
    [['--size-bytes', '9'.repeat(400)], {}, '--size-bytes: must be a whole number from 0, not'],
    [['--ipv6', 'yes'], {}, "--ipv6: must be true or false, not 'yes'"],
    [['--ipv6=TRUE'], {}, "--ipv6: must be true or false, not 'TRUE'"],
    [['--config-file='], {}, "--config-file: must be a path, not ''"],
    [['--log-level', 'loud'], {}, "--log-level: must be one of info, debug, not 'loud'"],
    [[], { SIDESTEP_IPV6: '1' }, "SIDESTEP_IPV6: must be true or false, not '1'"],
    [[], { SIDESTEP_NODENAME: 'x' }, 'SIDESTEP_NODENAME: unknown variable'],
  ]
  for (const [args, environment, message] of cases) {
    const { mistakes } = read([...FILE, ...args], environment)
    t.equal(mistakes.length, 1, `${args.join(' ')}: ${mistakes.join(' | ')}`)
    t.ok(mistakes[0]?.startsWith(message), `${mistakes[0]} starts with ${message}`)
  }
})

t.test('all mistakes are told together, what is missing too', async (t) => {
  const { mistakes } = read(['--ipv6', 'x', '--worker-count', 'y'], { SIDESTEP_Z: 'z', OTHER: 'z' })
  t.same(mistakes.map((each) => each.split(':')[0]).toSorted(), [
    '--ipv6',
    '--worker-count',
    'SIDESTEP_CONFIG_FILE',
    'SIDESTEP_Z',
  ])
  t.ok(mistakes.includes('SIDESTEP_CONFIG_FILE: is required (the file)'))
})
