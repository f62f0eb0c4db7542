// SPDX-License-Identifier: Apache-2.0
// All services of the mesh: Kubernetes' and those of ServiceEntries, with addresses and waypoints.
import { equals } from '@bufbuild/protobuf'
import { formatIp } from '../../mesh/net/address.ts'
import { type Service, ServiceSchema } from '../../proto/generated/istio/workload_pb.js'
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import { compareAge } from './age.ts'
import { type AddressWish, assignAddresses } from './auto-addresses.ts'
import { Memo } from './memo.ts'
import { Notes } from './notes.ts'
import { SelectorIndex } from './selectors.ts'
import {
  type EntryFacts,
  entryServiceFacts,
  hostAddresses,
  needsAddress,
  ownAddresses,
  readServiceEntry,
} from './service-entries.ts'
import type { ServiceInfo } from './service-info.ts'
import {
  bindService,
  noteWaypoint,
  readService,
  type ServiceFacts,
  type ServiceWaypoint,
  serviceFacts,
  serviceMessage,
} from './services.ts'
import type { ConfigFinding, TranslateSettings } from './translation.ts'
import type { Waypoints } from './waypoints.ts'

const SERVICE = kindKey('', 'Service')
const SERVICE_ENTRY = kindKey('networking.istio.io', 'ServiceEntry')

/** An entry with those of its hosts that nobody else has. */
export interface CountedEntry {
  readonly facts: EntryFacts
  readonly infos: readonly ServiceInfo[]
}

/** The services of one translation. */
export interface ServicesResult {
  /** By `<namespace>/<hostname>`. */
  readonly messages: ReadonlyMap<string, Service>
  /** Kubernetes' services by `<namespace>/<name>`. */
  readonly byName: ReadonlyMap<string, ServiceInfo>
  /** By `<namespace>/<name>`. */
  readonly entries: ReadonlyMap<string, CountedEntry>
  /** By namespace: who selects a workload. */
  readonly selectors: ReadonlyMap<string, SelectorIndex<ServiceInfo>>
  readonly waypoints: ReadonlyMap<ServiceInfo, ServiceWaypoint>
  readonly findings: readonly ConfigFinding[]
}

interface ReadPart {
  readonly info: ServiceInfo | null
  readonly findings: readonly ConfigFinding[]
}
interface MessagePart {
  readonly message: Service
  readonly findings: readonly ConfigFinding[]
}

export class ServiceStage {
  readonly #settings: TranslateSettings
  readonly #waypoints: Waypoints
  readonly #services = new Memo<ReadPart>()
  readonly #entries = new Memo<EntryFacts>()
  readonly #messages = new Memo<MessagePart>(keepEqualMessage)

  constructor(settings: TranslateSettings, waypoints: Waypoints) {
    this.#settings = settings
    this.#waypoints = waypoints
  }

  run(view: ConfigView, namespaces: ReadonlyMap<string, ConfigObject>): ServicesResult {
    for (const memo of [this.#services, this.#entries, this.#messages]) memo.sweep()
    const findings: ConfigFinding[] = []
    const byName = this.#readServices(view, findings)
    const entries = this.#readEntries(view, byName, findings)
    const messages = new Map<string, Service>()
    const waypoints = new Map<ServiceInfo, ServiceWaypoint>()
    // Only the first host of an object says what is wrong with its waypoint.
    const add = (
      info: ServiceInfo,
      isFirst: boolean,
      address: string | undefined,
      factsOf: (notes: Notes) => ServiceFacts,
    ): void => {
      const namespace = namespaces.get(info.namespace)
      const waypoint = bindService(info.object, namespace, this.#waypoints)
      waypoints.set(info, waypoint)
      const inputs = [info, namespace, waypoint.primary, waypoint.canary, address, isFirst]
      const part = this.#messages.get(info.key, inputs, () => {
        const notes = new Notes(info.object)
        const message = serviceMessage(factsOf(notes), waypoint)
        if (isFirst) noteWaypoint(info.object, namespace, waypoint, this.#waypoints, notes)
        return { message, findings: notes.findings }
      })
      messages.set(info.key, part.message)
      append(findings, part.findings)
    }
    for (const info of byName.values()) {
      add(info, true, undefined, (notes) =>
        serviceFacts(info, namespaces.get(info.namespace), this.#settings.network, notes),
      )
    }
    const auto = this.#assign(entries, messages, findings)
    for (const { facts, infos } of entries.values()) {
      for (const info of infos) {
        const address = auto.get(info.key)
        add(info, info === infos[0], address, () =>
          entryServiceFacts(facts, info, address, this.#settings.network),
        )
      }
    }
    return { messages, byName, entries, selectors: indexOf(byName, entries), waypoints, findings }
  }

  #readServices(view: ConfigView, findings: ConfigFinding[]): Map<string, ServiceInfo> {
    const byName = new Map<string, ServiceInfo>()
    for (const object of view.list(SERVICE)) {
      const key = `${object.metadata.namespace}/${object.metadata.name}`
      const { info, findings: own } = this.#services.get(key, [object], () => {
        const notes = new Notes(object)
        return { info: readService(object, this.#settings.clusterDomain, notes), findings: notes.findings }
      })
      if (info !== null) byName.set(key, info)
      append(findings, own)
    }
    return byName
  }

  #readEntries(
    view: ConfigView,
    services: ReadonlyMap<string, ServiceInfo>,
    findings: ConfigFinding[],
  ): Map<string, CountedEntry> {
    const taken = new Set([...services.values()].map(({ key }) => key))
    const read = view.list(SERVICE_ENTRY).map((object) => {
      const key = `${object.metadata.namespace}/${object.metadata.name}`
      const facts = this.#entries.get(key, [object], () => readServiceEntry(object, this.#settings.network))
      append(findings, facts.findings)
      return { key, createdMs: object.metadata.createdMs, facts }
    })
    const entries = new Map<string, CountedEntry>()
    for (const { key, facts } of read.toSorted(compareAge)) {
      const notes = new Notes(facts.object)
      const infos = facts.infos.filter((info) => {
        if (!taken.has(info.key)) return true
        const message = `${info.hostname} belongs to another object of this namespace`
        notes.add('HOST_TAKEN', 'spec.hosts', message, 'merge the objects, or remove the host from one')
        return false
      })
      for (const info of infos) taken.add(info.key)
      entries.set(key, { facts, infos })
      append(findings, notes.findings)
    }
    return entries
  }

  #assign(
    entries: ReadonlyMap<string, CountedEntry>,
    services: ReadonlyMap<string, Service>,
    findings: ConfigFinding[],
  ): ReadonlyMap<string, string> {
    const wishes: (AddressWish & { readonly info: ServiceInfo })[] = []
    const taken = new Set<string>()
    for (const { addresses } of services.values()) {
      for (const { address } of addresses) taken.add(formatIp(address) ?? '')
    }
    for (const { facts, infos } of entries.values()) {
      for (const info of infos) {
        const { createdMs } = info.object.metadata
        if (needsAddress(facts, info.hostname)) wishes.push({ key: info.key, createdMs, info })
        else for (const ip of hostAddresses(ownAddresses(facts, info.hostname))) taken.add(ip)
      }
    }
    const assigned = assignAddresses(this.#settings.autoAddressRange, wishes, taken)
    for (const { key, info } of wishes) {
      if (assigned.has(key)) continue
      const notes = new Notes(info.object)
      const message = `there is no address for ${info.hostname} in ${this.#settings.autoAddressRange}`
      notes.add('NO_AUTO_ADDRESS', 'spec.addresses', message, 'write an address, or widen the range')
      append(findings, notes.findings)
    }
    return assigned
  }
}

function indexOf(
  services: ReadonlyMap<string, ServiceInfo>,
  entries: ReadonlyMap<string, CountedEntry>,
): ReadonlyMap<string, SelectorIndex<ServiceInfo>> {
  const byNamespace = new Map<string, SelectorIndex<ServiceInfo>>()
  for (const info of [...services.values(), ...[...entries.values()].flatMap(({ infos }) => infos)]) {
    if (info.selector === null) continue
    const index = byNamespace.get(info.namespace) ?? new SelectorIndex<ServiceInfo>()
    index.add(info.selector, info)
    byNamespace.set(info.namespace, index)
  }
  return byNamespace
}

function keepEqualMessage(old: MessagePart, fresh: MessagePart): MessagePart {
  return equals(ServiceSchema, old.message, fresh.message) ? { ...fresh, message: old.message } : fresh
}

function append<T>(list: T[], more: readonly T[]): void {
  for (const each of more) list.push(each)
}
