// SPDX-License-Identifier: Apache-2.0
// Options that are each fine and make no sense together. A mistake is told once, at start, and names the option to
// change; an option that would do nothing is one, because whoever gave it believes it does something. Pure.
import { environmentName } from '../mesh/runtime/options.ts'
import type { ControllerConfig } from './config.ts'
import { parseRedisAddresses } from './redis-address.ts'

type Key = keyof ControllerConfig

/** Options that belong to one choice of another. */
interface Branch {
  /** They must be given. */
  readonly required: readonly Key[]
  readonly allowed: readonly Key[]
}

const SOURCES: Readonly<Record<string, Branch>> = {
  directory: { required: ['configDirectory'], allowed: [] },
  redis: {
    required: ['redisAddresses'],
    allowed: ['redisUser', 'redisPasswordFile', 'redisCaFile', 'redisCertificateFile', 'redisKeyFile'],
  },
  kubernetes: { required: [], allowed: ['kubeconfigFile'] },
}

const AUTHORITIES: Readonly<Record<string, Branch>> = {
  embedded: { required: [], allowed: [] },
  cacerts: { required: ['cacertsDirectory'], allowed: [] },
  istio: { required: ['caAddress', 'caRootsFile'], allowed: ['caTlsRootsFile', 'caTokenFile'] },
  vault: {
    required: ['caAddress', 'caRootsFile', 'caTokenFile', 'vaultRole'],
    allowed: ['caTlsRootsFile', 'vaultNamespace'],
  },
}

/** Everything that does not fit together; empty when the options can be used. */
export function contradictionsOf(options: ControllerConfig): readonly string[] {
  return [
    ...branchMistakes(options, 'configSource', SOURCES),
    ...branchMistakes(options, 'caSource', AUTHORITIES),
    ...waypointMistakes(options),
    ...redisMistakes(options),
    ...caAddressMistakes(options),
  ]
}

function branchMistakes(
  options: ControllerConfig,
  choice: 'configSource' | 'caSource',
  branches: Readonly<Record<string, Branch>>,
): string[] {
  const chosen = `when ${environmentName(choice)} is ${options[choice]}`
  const { required, allowed } = branches[options[choice]] ?? { required: [], allowed: [] }
  const mine = new Set([...required, ...allowed])
  const all = Object.values(branches).flatMap((branch) => [...branch.required, ...branch.allowed])
  return [
    ...required
      .filter((key) => options[key] === '')
      .map((key) => `${environmentName(key)}: is required ${chosen}`),
    ...[...new Set(all)]
      .filter((key) => !mine.has(key) && options[key] !== '')
      .map((key) => `${environmentName(key)}: means nothing ${chosen}`),
  ]
}

function redisMistakes(options: ControllerConfig): string[] {
  const { configSource, redisAddresses, redisUser, redisPasswordFile, redisPrefix } = options
  if (configSource !== 'redis' || redisAddresses === '') return []
  const addresses = parseRedisAddresses(redisAddresses)
  if (typeof addresses === 'string') return [`${environmentName('redisAddresses')}: ${addresses}`]
  const mistakes: string[] = []
  if (!addresses.some(({ isTls }) => isTls))
    for (const key of ['redisCaFile', 'redisCertificateFile', 'redisKeyFile'] as const)
      if (options[key] !== '')
        mistakes.push(`${environmentName(key)}: means nothing without a rediss:// address`)
  if ((options.redisCertificateFile === '') !== (options.redisKeyFile === ''))
    mistakes.push(`${environmentName('redisCertificateFile')}: needs its key, and the key needs it`)
  if (redisUser !== '' && redisPasswordFile === '')
    mistakes.push(`${environmentName('redisUser')}: needs a password file`)
  if (!/^[\w.:-]{1,64}$/.test(redisPrefix))
    mistakes.push(`${environmentName('redisPrefix')}: has letters, digits and _ . : - only, at most 64`)
  return mistakes
}

function caAddressMistakes({ caSource, caAddress }: ControllerConfig): string[] {
  if (caAddress === '') return []
  const name = environmentName('caAddress')
  if (caSource === 'istio' && !/^[^\s/@]+:\d{1,5}$/.test(caAddress)) return [`${name}: must be host:port`]
  if (caSource !== 'vault') return []
  const { protocol, hostname } = URL.parse(caAddress) ?? { protocol: '', hostname: '' }
  // An agent on this machine speaks plain HTTP; anywhere else everybody would read the token.
  const isAgent = protocol === 'http:' && /^(localhost|127\.[\d.]+|\[::1\])$/.test(hostname)
  return protocol === 'https:' || isAgent ? [] : [`${name}: must be a URL that begins with https://`]
}

function waypointMistakes(options: ControllerConfig): readonly string[] {
  const { waypointAccessLog, waypointAccessLogFormat, waypointOtlpEndpoint: endpoint } = options
  return [
    ...(waypointAccessLogFormat !== '' && waypointAccessLog !== 'text'
      ? [
          `${environmentName('waypointAccessLogFormat')}: only with ${environmentName('waypointAccessLog')}=text`,
        ]
      : []),
    ...(endpoint !== '' && !/^https?:$/.test(URL.parse(endpoint)?.protocol ?? '')
      ? [`${environmentName('waypointOtlpEndpoint')}: must be a URL, as http://collector:4318`]
      : []),
  ]
}
