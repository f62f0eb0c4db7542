// SPDX-License-Identifier: Apache-2.0
// What the supervisor keeps for one pod: its namespace, its redirect rules and its listening sockets. They outlive
// every generation of the data process, so that connects wait in the sockets' queues while one is replaced.
import { closeSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import {
  isDatagramKind,
  LISTENER_KINDS,
  LISTENER_PORTS,
  type ListenerKind,
} from '../../mesh/generations/pods.ts'
import type { FoundPod } from '../../mesh/generations/take-over.ts'
import { AF_INET6, SHUT_RDWR, SO_ACCEPTCONN, SOL_SOCKET } from '../../mesh/reactor/ffi/constants.ts'
import { shutdown } from '../../mesh/reactor/ffi/libc.ts'
import { NETLINK_ROUTE, NetlinkConnection } from '../../mesh/reactor/netlink/connection.ts'
import { setLinkUp } from '../../mesh/reactor/netlink/links.ts'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import {
  getIntOption,
  localAddress,
  setKeepalive,
  setMark,
  setTransparent,
} from '../../mesh/reactor/socket-options.ts'
import { openListener } from '../../mesh/reactor/tcp-listener.ts'
import { openDatagramSocket } from '../../mesh/reactor/udp-socket.ts'
import { keepaliveOf, type ZtunnelConfig } from '../config.ts'
import { findForeignRedirection } from './enroll/foreign-redirection.ts'
import type { PodRedirect } from './enroll/pod-redirect.ts'
import {
  applyRedirectRules,
  findRuleDrift,
  hasLoopbackIpv6,
  MESH_MARK,
  type RuleSet,
  readRuleGeneration,
  redirectRules,
  removeRedirection,
  removeRedirectRules,
} from './enroll/redirect-rules.ts'
import type { EnrolledPod } from './enrolment-file.ts'

/** What the listeners of DNS are bound to: only the pod itself asks. */
const DNS_ADDRESSES: ReadonlyMap<ListenerKind, string> = new Map([
  ['dns-tcp', '127.0.0.1'],
  ['dns-tcp6', '::1'],
  ['dns-udp', '127.0.0.1'],
  ['dns-udp6', '::1'],
])

/** What is not as it was made. Rules can be written anew; listeners are opened again with their pod. */
export interface PodDrift {
  readonly part: 'rules' | 'listeners'
  readonly detail: string
}

/** One enrolled pod. */
export class PodSockets {
  readonly namespace: NetworkNamespace | null
  readonly listeners: ReadonlyMap<ListenerKind, number>
  readonly #isRedirected: boolean
  /** Generation of the namespace's tables at which ours were found whole; null: not known. */
  #wholeGeneration: number | null = null
  readonly #capturesDns: boolean
  #pod: EnrolledPod

  private constructor(
    pod: EnrolledPod,
    config: ZtunnelConfig,
    namespace: NetworkNamespace | null,
    listeners: ReadonlyMap<ListenerKind, number>,
  ) {
    this.#pod = pod
    this.namespace = namespace
    this.listeners = listeners
    this.#isRedirected = namespace !== null && config.redirect
    this.#capturesDns = config.dnsCapture
  }

  get pod(): EnrolledPod {
    return this.#pod
  }

  /**
   * Enters the pod's namespace, opens its listeners, then writes its rules: in this order no connection is
   * redirected to a port nobody listens on. `others` are enrolled already: a namespace has one pod.
   * @throws NAMESPACE_GONE, NAMESPACE_SHARED, FOREIGN_REDIRECTION, MISSING_CAPABILITY, OUT_OF_DESCRIPTORS, NETLINK,
   *   SYSTEM_CALL
   */
  static open(pod: EnrolledPod, config: ZtunnelConfig, others: Iterable<PodSockets> = []): PodSockets {
    const namespace = pod.netns === null ? null : NetworkNamespace.open(pod.netns)
    const listeners = new Map<ListenerKind, number>()
    try {
      if (namespace !== null) assertUnshared(namespace, pod, others)
      if (namespace !== null && config.redirect) assertOurs(namespace)
      if (namespace !== null) setLoopbackUp(namespace)
      const openAll = (): void => {
        for (const kind of kindsFor(pod, config)) listeners.set(kind, open(kind, pod, config))
      }
      if (namespace === null) openAll()
      else namespace.run(openAll)
      const sockets = new PodSockets(pod, config, namespace, listeners)
      sockets.mendRules()
      return sockets
    } catch (error) {
      for (const fd of listeners.values()) closeSync(fd)
      namespace?.close()
      throw error
    }
  }

  /** A pod that is served already, by descriptors that are its own from now on. Rules are looked at by the next check. */
  static keep({ pod, namespaceFd, listeners }: FoundPod<EnrolledPod>, config: ZtunnelConfig): PodSockets {
    const namespace = namespaceFd === null ? null : NetworkNamespace.fromDescriptor(namespaceFd)
    return new PodSockets(pod, config, namespace, listeners)
  }

  /**
   * What of it somebody has damaged, in a few words; null when all is as it was made.
   * @throws NETLINK, NAMESPACE_GONE
   */
  findDrift(): PodDrift | null {
    for (const [kind, fd] of this.listeners)
      if (!isListening(kind, fd))
        return { part: 'listeners', detail: `nobody listens on ${LISTENER_PORTS[kind]}` }
    if (this.namespace === null || !this.#isRedirected) return null
    const generation = readRuleGeneration(this.namespace)
    const areTablesWhole = generation !== null && generation === this.#wholeGeneration
    const detail = findRuleDrift(this.namespace, this.#rules(this.#pod.redirect), areTablesWhole)
    this.#wholeGeneration = detail === null ? generation : null
    return detail === null ? null : { part: 'rules', detail }
  }

  /** Writes the rules anew. @throws NETLINK, NAMESPACE_GONE */
  mendRules(): void {
    if (this.namespace !== null && this.#isRedirected)
      applyRedirectRules(this.namespace, this.#rules(this.#pod.redirect))
  }

  /**
   * Makes it what `pod` is now, when that differs in redirection only and the listeners for it are open: true, and no
   * connection has noticed. False, and nothing has changed, when it must be opened anew. @throws NETLINK, NAMESPACE_GONE
   */
  adopt(pod: EnrolledPod): boolean {
    if (!isDeepStrictEqual({ ...pod, redirect: null }, { ...this.#pod, redirect: null })) return false
    if (this.#wantsDns(pod.redirect) && !this.listeners.has('dns-udp')) return false
    this.#pod = pod
    this.mendRules()
    return true
  }

  /** A pod that was let go of is back, perhaps by another path of its namespace: as adopt(). */
  takeBack(pod: EnrolledPod): boolean {
    if (this.namespace === null || pod.netns === null) return false
    const other = NetworkNamespace.open(pod.netns)
    const isSame = this.namespace.isSame(other)
    other.close()
    if (!isSame) return false
    this.#pod = { ...this.#pod, netns: pod.netns }
    return this.adopt(pod)
  }

  #wantsDns(redirect: PodRedirect | undefined): boolean {
    return this.#isRedirected && (redirect?.isDnsCaptured ?? this.#capturesDns)
  }

  #rules(redirect: PodRedirect | undefined): RuleSet {
    const families = ([4, 6] as const).filter((family) =>
      this.listeners.has(family === 4 ? 'dns-udp' : 'dns-udp6'),
    )
    return redirectRules({ ...redirect, dnsFamilies: this.#wantsDns(redirect) ? families : [] })
  }

  /**
   * New connections go their own way from now on; those that were redirected go on: the kernel remembers each, and their
   * routes stay until close(). @throws NETLINK, NAMESPACE_GONE
   */
  letGo(): void {
    if (this.namespace !== null && this.#isRedirected) removeRedirection(this.namespace)
  }

  /**
   * Un-enrols: redirection first, so that nothing comes to closed ports; then the ports, whoever has copies of the sockets,
   * so that who waits in a queue is told as long as there are tables that translate it. A vanished namespace is fine.
   */
  close(): void {
    try {
      this.letGo()
      for (const fd of this.listeners.values()) shutdown(fd, SHUT_RDWR)
      if (this.namespace !== null && this.#isRedirected) removeRedirectRules(this.namespace)
    } finally {
      this.abandon()
    }
  }

  /** Lets go of its descriptors; rules and copies of the sockets are somebody else's. */
  abandon(): void {
    for (const fd of this.listeners.values()) closeSync(fd)
    this.namespace?.close()
  }
}

function assertUnshared(
  namespace: NetworkNamespace,
  { netns }: EnrolledPod,
  others: Iterable<PodSockets>,
): void {
  for (const other of others) {
    if (other.namespace?.isSame(namespace) !== true) continue
    const { uid, name, namespace: owner } = other.pod
    throw new MeshError('NAMESPACE_SHARED', {
      detail: `${netns} is the namespace of ${owner}/${name} (${uid})`,
    })
  }
}

/** A container runtime sets up the loopback of a new pod beside us; without it nothing can be bound or routed there. */
function setLoopbackUp(namespace: NetworkNamespace): void {
  NetlinkConnection.use(NETLINK_ROUTE, namespace, (connection) => setLinkUp(connection, 'lo'))
}

function assertOurs(namespace: NetworkNamespace): void {
  const sign = findForeignRedirection(namespace)
  if (sign !== null) throw new MeshError('FOREIGN_REDIRECTION', { detail: sign })
}

function kindsFor(pod: EnrolledPod, config: ZtunnelConfig): readonly ListenerKind[] {
  if (pod.onlyPort !== undefined) return ['inbound']
  // Without a namespace of its own nothing can be redirected to the pod: callers come through SOCKS5.
  if (pod.netns === null) return ['inbound', 'socks5']
  // Also where another agent writes the rules, and for a pod that wishes none: it may change its mind.
  const hasDns = config.dnsCapture || pod.redirect?.isDnsCaptured === true
  const hasIpv6 = hasDns && config.ipv6 && hasLoopbackIpv6()
  return LISTENER_KINDS.filter((kind) => {
    const ip = DNS_ADDRESSES.get(kind)
    if (ip !== undefined) return ip === '::1' ? hasIpv6 : hasDns
    return kind !== 'socks5' || config.socks5
  })
}

/** A socket of datagrams that somebody destroyed has lost its port. */
function isListening(kind: ListenerKind, fd: number): boolean {
  if (isDatagramKind(kind)) return localAddress(fd)?.port === LISTENER_PORTS[kind]
  return getIntOption(fd, SOL_SOCKET, SO_ACCEPTCONN) === 1
}

function open(kind: ListenerKind, pod: EnrolledPod, config: ZtunnelConfig): number {
  const dnsIp = DNS_ADDRESSES.get(kind)
  if (dnsIp !== undefined) {
    const prepare = (fd: number): void => setMark(fd, MESH_MARK)
    return isDatagramKind(kind)
      ? openDatagramSocket(dnsIp, LISTENER_PORTS[kind], { prepare })
      : openListener(dnsIp, LISTENER_PORTS[kind], { prepare })
  }
  const wildcard = config.ipv6 ? '::' : '0.0.0.0'
  const ip = pod.address ?? (kind === 'socks5' ? '127.0.0.1' : wildcard)
  const keepalive = keepaliveOf(config)
  return openListener(ip, LISTENER_PORTS[kind], {
    prepare(fd, family) {
      setKeepalive(fd, keepalive) // accepted sockets inherit it: nothing to do per connection
      if (pod.netns === null) return
      setMark(fd, MESH_MARK)
      if (kind !== 'socks5') setTransparent(fd, family)
      if (family === AF_INET6 && config.originalSource) setTransparent(fd, 2)
    },
  })
}
