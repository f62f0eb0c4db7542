// SPDX-License-Identifier: Apache-2.0
// What workers ask of the mesh, which main knows: where a connection of a pod goes, who calls it, what a name is.
import { refuse } from '../mesh/errors/refusal.ts'
import type { PodInfo } from '../mesh/generations/pods.ts'
import { describeDestination } from '../mesh/model/destination.ts'
import type { MeshState } from '../mesh/model/mesh-state.ts'
import type { Workload } from '../mesh/model/workload.ts'
import { workloadFacts } from '../mesh/model/workload-facts.ts'
import { formatIp, formatSocketAddress, parseIp } from '../mesh/net/address.ts'
import type { DemandedDestinations } from './demanded-destinations.ts'
import { decideDns } from './dns/dns-decision.ts'
import { type DnsRecord, TYPE_A, TYPE_AAAA } from './dns/dns-message.ts'
import type { StreamSlots } from './stream-slots.ts'
import type { DownMessage, UpMessage } from './worker-messages.ts'

/** One question; its answer names what was asked. */
export type ModelQuestion = Extract<
  UpMessage,
  { readonly type: 'resolve' | 'resolve-host' | 'resolve-dns' | 'resolve-caller' }
>
type Asked<Type extends ModelQuestion['type']> = Extract<ModelQuestion, { readonly type: Type }>

/** What answers are made of. */
export interface ModelAnswersOptions {
  readonly network: string
  readonly clusterDomain: string
  /** Null before the first one. */
  readonly state: () => MeshState | null
  readonly pods: {
    /** As the mesh knows the pod; undefined: not, or not yet. */
    workloadOf(uid: string): Workload | undefined
    infoOf(uid: string): PodInfo | undefined
  }
  readonly demanded: Pick<DemandedDestinations, 'when'>
  readonly streamSlots: Pick<StreamSlots, 'prepare'>
  readonly post: (worker: number, message: DownMessage) => void
  /** Uniform in [0, 1). */
  readonly random: () => number
}

export class ModelAnswers {
  readonly #options: ModelAnswersOptions

  constructor(options: ModelAnswersOptions) {
    this.#options = options
  }

  /** Answers now, or once it is known: without an answer a deadline of the worker's names what was missing. */
  onQuestion(worker: number, question: ModelQuestion): void {
    const { post } = this.#options
    switch (question.type) {
      case 'resolve':
        this.#destination(worker, question)
        break
      case 'resolve-host':
        post(worker, this.#host(question))
        break
      case 'resolve-dns':
        post(worker, this.#name(question))
        break
      case 'resolve-caller':
        post(worker, this.#caller(question))
        break
    }
  }

  #destination(worker: number, { uid, ip, port }: Asked<'resolve'>): void {
    const { demanded, network, pods, post, state, streamSlots } = this.#options
    if (pods.workloadOf(uid) === undefined) return
    demanded.when(ip, `${worker} ${uid} ${port}`, (isAnswered) => {
      const workload = pods.workloadOf(uid)
      const mesh = state()
      if (workload === undefined || mesh === null) return
      if (!isAnswered) {
        const refusal = refuse('DISCOVERY_UNANSWERED', formatSocketAddress(ip, port))
        post(worker, { type: 'destination-unknown', uid, ip, port, refusal })
        return
      }
      const view = describeDestination(mesh, workload, network, ip, port)
      streamSlots.prepare(view.waypoints)
      post(worker, { type: 'destination', uid, view })
    })
  }

  #host({ uid, host }: Asked<'resolve-host'>): DownMessage {
    return { type: 'host', uid, host, ip: parseIp(host) ?? this.#addressOf(uid, host) }
  }

  /** What DNS would answer first, IPv4 before IPv6; null: no name of ours. */
  #addressOf(uid: string, host: string): string | null {
    const name = host.endsWith('.') ? host.slice(0, -1) : host
    for (const type of [TYPE_A, TYPE_AAAA])
      for (const record of this.#recordsOf(uid, name, type) ?? [])
        if (record.kind === 'A' || record.kind === 'AAAA') return formatIp(record.bytes) ?? null
    return null
  }

  #name({ uid, name, queryType }: Asked<'resolve-dns'>): DownMessage {
    return { type: 'dns', uid, name, queryType, verdict: this.#recordsOf(uid, name, queryType) }
  }

  /** Null: not ours to answer. Before the first model nothing is known to be: that changes with it. */
  #recordsOf(uid: string, name: string, queryType: number): readonly DnsRecord[] | null {
    const { clusterDomain, network, pods, random, state } = this.#options
    const client = { namespace: pods.infoOf(uid)?.namespace ?? '', network, clusterDomain }
    const mesh = state()
    const decision = mesh === null ? null : decideDns(name, queryType, client, mesh, random)
    return decision?.kind === 'answer' ? decision.records : null
  }

  #caller({ ip }: Asked<'resolve-caller'>): DownMessage {
    const workload = this.#options.state()?.workloadByIp(this.#options.network, ip)
    return { type: 'caller', ip, workload: workload === undefined ? null : workloadFacts(workload) }
  }
}
