// SPDX-License-Identifier: Apache-2.0
// Which form of the demo this machine allows. Tried, not guessed: a network is built and given up again.
import { spawnSync } from 'node:child_process'
import { MeshError } from '../mesh/errors/mesh-error.ts'
import { VirtualNetwork } from '../mesh/reactor/netlink/virtual-network.ts'
import { applyRedirectRules, redirectRules } from '../ztunnel/supervisor/enroll/redirect-rules.ts'
import type { DemoMode } from './plan.ts'

/** How the demo will run. */
export interface ModeChoice {
  readonly mode: DemoMode
  /** What lets it make network namespaces; `nothing` in loopback mode. */
  readonly privilege: 'root' | 'user namespace' | 'nothing'
  /** Start again as `unshare` with these arguments first. */
  readonly restartUnder: readonly string[] | null
  /** Why not a better mode. */
  readonly missing: readonly string[]
}

/** A user namespace in which we are root, with a network of its own. */
export const UNSHARE_ARGS = ['--user', '--map-root-user', '--net', '--'] as const
const PROBE_TIMEOUT_MS = 20_000

/** Builds the smallest network with redirect rules; the reason when that is not possible, else ''. */
export function probeNetwork(): string {
  if (process.platform !== 'linux') return `network namespaces need Linux, this is ${process.platform}`
  try {
    const pods = [{ name: 'a', ip: '10.1.0.2' }]
    const network = VirtualNetwork.create({ nodes: [{ name: 'n1', pods }, { name: 'n2' }] })
    try {
      applyRedirectRules(network.pod('a').namespace, redirectRules())
      return ''
    } finally {
      network.close()
    }
  } catch (error) {
    if (error instanceof MeshError) return error.detail
    throw error
  }
}

/** Asks whether `unshare` helps: `probeArgs` are this program's own, to run probeNetwork there. '' when it does. */
export function probeUserNamespace(probeArgs: readonly string[]): string {
  const { status, error, stdout, stderr } = spawnSync('unshare', [...UNSHARE_ARGS, ...probeArgs], {
    encoding: 'utf8',
    timeout: PROBE_TIMEOUT_MS,
  })
  if (error !== undefined) {
    const isMissing = 'code' in error && error.code === 'ENOENT'
    return isMissing ? 'the program unshare (util-linux) is not installed' : `unshare: ${error.message}`
  }
  return status === 0 ? '' : `in a user namespace: ${(stderr || stdout).trim().split('\n')[0] ?? ''}`
}

/** What chooseMode is told and may ask. */
export interface ModeQuestions {
  /** Loopback was asked for. */
  readonly isLoopbackForced: boolean
  /** We were started again under unshare already. */
  readonly isInUserNamespace: boolean
  readonly isRoot: boolean
  /** Each answers '' for yes, else why not. */
  readonly probeNetwork: () => string
  readonly probeUserNamespace: () => string
}

/** Decides. */
export function chooseMode(questions: ModeQuestions): ModeChoice {
  const loopback = { mode: 'loopback', privilege: 'nothing', restartUnder: null } as const
  if (questions.isLoopbackForced) return { ...loopback, missing: ['loopback mode was asked for'] }
  const network = questions.probeNetwork()
  if (network === '') {
    const privilege = questions.isInUserNamespace ? 'user namespace' : 'root'
    return { mode: 'netns', privilege, restartUnder: null, missing: [] }
  }
  const own = questions.isRoot ? `as root: ${network}` : `not root: ${network}`
  if (questions.isInUserNamespace) return { ...loopback, missing: [`in a user namespace: ${network}`] }
  const user = questions.probeUserNamespace()
  if (user !== '') return { ...loopback, missing: [own, user] }
  return { mode: 'netns', privilege: 'user namespace', restartUnder: UNSHARE_ARGS, missing: [] }
}

/** What the demo cannot show in loopback mode. */
export const NOT_IN_LOOPBACK = [
  'redirection: callers enter the mesh through SOCKS5 instead of unmodified connects',
  'the pod that is not enrolled: without a network of its own nothing tells its traffic apart',
  'the address of the caller: every connection comes from 127.0.0.1',
] as const
