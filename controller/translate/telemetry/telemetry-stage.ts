// SPDX-License-Identifier: Apache-2.0
// What waypoints log and trace: one resource for each service behind one and for the workloads of each, from the Telemetries that
// are for it. Of the mesh, of the namespace, of the waypoint, of the service: the narrower goes before the wider, of two alike
// the older. SPEC ISTIO-API telemetry/v1: logging is taken over as a whole, tracing field by field.
import { create, equals } from '@bufbuild/protobuf'
import {
  type RequestTelemetry,
  RequestTelemetrySchema,
} from '../../../proto/generated/sidestep/v1/telemetry_pb.js'
import { type ConfigView, kindKey } from '../../watch/config-object.ts'
import { compareAge } from '../age.ts'
import { Memo } from '../memo.ts'
import { Notes } from '../notes.ts'
import type { FindTarget, FoundTarget } from '../policy-targets.ts'
import { gatewayTarget } from '../requests/request-stage.ts'
import type { ConfigFinding, WaypointScope } from '../translation.ts'
import { readTelemetry, type TelemetryPart } from './read-telemetry.ts'

const TELEMETRY = kindKey('telemetry.istio.io', 'Telemetry')

/** What resources are made for. */
export interface TelemetryWorld {
  readonly view: ConfigView
  readonly find: FindTarget
  readonly scopes: ReadonlyMap<string, WaypointScope>
  readonly rootNamespace: string
}

export interface TelemetryResult {
  /** By service, `<namespace>/<hostname>`, and by gatewayTarget(). */
  readonly messages: ReadonlyMap<string, RequestTelemetry>
  readonly findings: readonly ConfigFinding[]
}

/** Wider ones first. */
const LEVELS = ['mesh', 'namespace', 'waypoint', 'service'] as const
type Level = (typeof LEVELS)[number]

/** For whom one object is. */
interface Reach {
  readonly names: ReadonlyMap<string, Level>
  readonly findings: readonly ConfigFinding[]
}

export class TelemetryStage {
  readonly #parts = new Memo<TelemetryPart>()
  readonly #messages = new Memo<RequestTelemetry>((old, fresh) =>
    equals(RequestTelemetrySchema, old, fresh) ? old : fresh,
  )

  run(world: TelemetryWorld): TelemetryResult {
    this.#parts.sweep()
    this.#messages.sweep()
    const parts = this.#read(world.view)
    if (parts.length === 0) return { messages: new Map(), findings: [] }
    const guarded = new Set([...world.scopes.values()].flatMap((scope) => [...scope.guarded]))
    const findings: ConfigFinding[] = [...shadowedFindings(parts)]
    const told = new Map<string, Map<Level, TelemetryPart[]>>()
    for (const part of parts) {
      const reach = reachOf(part, world, guarded)
      for (const finding of [...part.notes.findings, ...reach.findings]) findings.push(finding)
      for (const [name, level] of reach.names) {
        const levels = told.get(name) ?? new Map<Level, TelemetryPart[]>()
        told.set(name, levels.set(level, [...(levels.get(level) ?? []), part]))
      }
    }
    const messages = [...told].map(([target, levels]) => {
      const inOrder = LEVELS.flatMap((level) => (levels.get(level) ?? []).toReversed())
      return [target, this.#messages.get(target, inOrder, () => merged(target, inOrder))] as const
    })
    return { messages: new Map(messages), findings }
  }

  /** The oldest first. */
  #read(view: ConfigView): TelemetryPart[] {
    return view
      .list(TELEMETRY)
      .map((object) => {
        const key = `${object.metadata.namespace}/${object.metadata.name}`
        const part = this.#parts.get(key, [object], () => readTelemetry(object))
        return { key, createdMs: object.metadata.createdMs, part }
      })
      .toSorted(compareAge)
      .map(({ part }) => part)
  }
}

/** What comes later goes before what came earlier. */
function merged(target: string, parts: readonly TelemetryPart[]): RequestTelemetry {
  const logging = parts.findLast((part) => part.logging !== null)
  const tracing = parts.flatMap((part) => part.tracing ?? [])
  const samples = tracing.findLast(({ samplesPerMillion }) => samplesPerMillion !== undefined)
  const reporting = tracing.findLast(({ disablesReporting }) => disablesReporting !== undefined)
  const tags = tracing.findLast((each) => each.tags !== undefined)?.tags ?? []
  const { namespace = '', name = '' } = logging?.object.metadata ?? {}
  return create(RequestTelemetrySchema, {
    target,
    ...(logging?.logging && { accessLogging: { origin: `${namespace}/${name}`, ...logging.logging } }),
    ...(tracing.length > 0 && {
      tracing: {
        ...(samples?.samplesPerMillion !== undefined && { samplesPerMillion: samples.samplesPerMillion }),
        disablesReporting: reporting?.disablesReporting ?? false,
        tags: [...tags],
      },
    }),
  })
}

/** Of two for the same namespace, or for the mesh, the younger is told what an older one says already. */
function* shadowedFindings(parts: readonly TelemetryPart[]): Iterable<ConfigFinding> {
  for (const about of ['logging', 'tracing'] as const) {
    const older = new Map<string, string>()
    for (const part of parts) {
      const { namespace, name } = part.object.metadata
      if (!part.isWide || part[about] === null) continue
      const first = older.get(namespace)
      if (first === undefined) {
        older.set(namespace, name)
        continue
      }
      const notes = new Notes(part.object)
      const path = about === 'logging' ? 'spec.accessLogging' : 'spec.tracing'
      const message = `${namespace}/${first} is older and for the same requests; where it says something it counts`
      notes.add('TELEMETRY_NOT_APPLIED', path, message, 'merge the two, or use targetRefs')
      yield* notes.findings
    }
  }
}

function reachOf(part: TelemetryPart, world: TelemetryWorld, guarded: ReadonlySet<string>): Reach {
  const { object, targets, isWide } = part
  const { namespace } = object.metadata
  const notes = new Notes(object)
  const names = new Map<string, Level>()
  if (isWide) {
    const isOfMesh = namespace === world.rootNamespace
    for (const name of guarded)
      if (isOfMesh || namespaceOf(name) === namespace) names.set(name, isOfMesh ? 'mesh' : 'namespace')
    return { names, findings: notes.findings }
  }
  for (const target of targets) {
    const found = world.find(target, namespace)
    if (found === undefined) {
      const message = `there is no ${target.kind} ${target.name} for this Telemetry`
      notes.add('POLICY_TARGET_NOT_FOUND', target.path, message, 'create it, or mend the name')
      continue
    }
    const isOfService = target.kind === 'Service' || target.kind === 'ServiceEntry'
    const level = isOfService ? 'service' : 'waypoint'
    const reached = [...targetNames(found, isOfService)].filter((name) => guarded.has(name))
    if (reached.length === 0) {
      const message = `no waypoint is in front of ${target.kind} ${target.name}; nothing is logged or traced there`
      notes.add('TELEMETRY_NOT_APPLIED', target.path, message, 'give it a waypoint')
    }
    // Named as a service, and by its waypoint: the narrower holds.
    for (const name of reached) if (names.get(name) !== 'service') names.set(name, level)
  }
  return { names, findings: notes.findings }
}

function* targetNames({ services, waypoints }: FoundTarget, isOfService: boolean): Iterable<string> {
  for (const { key } of services) yield key
  if (!isOfService) for (const waypoint of waypoints) yield gatewayTarget(waypoint)
}

function namespaceOf(target: string): string {
  const start = target.indexOf(' ') + 1 // of a Gateway; 0: a service
  return target.slice(start, target.indexOf('/', start))
}
