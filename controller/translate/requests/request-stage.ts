// SPDX-License-Identifier: Apache-2.0
// What waypoints decide of requests: one resource for each service behind one and for the workloads of each, from the policies
// and RequestAuthentications that are for it.
import { create, equals } from '@bufbuild/protobuf'
import {
  type RequestPolicies,
  RequestPoliciesSchema,
  type RequestPolicy,
} from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import { type ConfigView, kindKey, refOf } from '../../watch/config-object.ts'
import { compareAge } from '../age.ts'
import { Memo } from '../memo.ts'
import { Notes } from '../notes.ts'
import type { TargetedPart } from '../policy-stage.ts'
import type { FindTarget, FoundTarget, PolicyTarget } from '../policy-targets.ts'
import type { ConfigFinding, PolicyEnforcement, WaypointScope } from '../translation.ts'
import { readRequestAuthentication, type TokenPart } from './token-rules.ts'

const REQUEST_AUTHENTICATION = kindKey('security.istio.io', 'RequestAuthentication')

export interface RequestsResult {
  /** By service, `<namespace>/<hostname>`, and by gatewayTarget(). */
  readonly messages: ReadonlyMap<string, RequestPolicies>
  readonly findings: readonly ConfigFinding[]
  readonly enforcement: readonly PolicyEnforcement[]
}

/** What resources are made for. */
export interface RequestWorld {
  readonly view: ConfigView
  readonly find: FindTarget
  readonly policies: readonly TargetedPart[]
  readonly scopes: ReadonlyMap<string, WaypointScope>
  readonly rootNamespace: string
}

/** Name of the resource for the workloads behind a waypoint, `<namespace>/<name>`: no service has such a name. */
export function gatewayTarget(waypoint: string): string {
  return `gateway ${waypoint}`
}

/** What one target is told. */
interface Told {
  readonly policies: RequestPolicy[]
  readonly tokens: TokenPart[]
}

export class RequestStage {
  readonly #tokens = new Memo<TokenPart>()
  readonly #messages = new Memo<RequestPolicies>((old, fresh) =>
    equals(RequestPoliciesSchema, old, fresh) ? old : fresh,
  )

  run(world: RequestWorld): RequestsResult {
    this.#tokens.sweep()
    this.#messages.sweep()
    const findings: ConfigFinding[] = []
    const enforcement: PolicyEnforcement[] = []
    const told = new Map<string, Told>()
    const guarded = new Set([...world.scopes.values()].flatMap((scope) => [...scope.guarded]))
    const tell = (name: string): Told | null => {
      if (!guarded.has(name)) return null
      const known = told.get(name) ?? { policies: [], tokens: [] }
      told.set(name, known)
      return known
    }
    for (const { request, targets, found } of world.policies)
      for (const name of namesOf(targets, found)) tell(name)?.policies.push(request)
    for (const part of this.#readTokens(world.view)) {
      const { names, waypoints, notes } = placesOf(part, world, guarded)
      for (const name of names) tell(name)?.tokens.push(part)
      for (const finding of [...part.findings, ...notes.findings]) findings.push(finding)
      enforcement.push(enforcementOf(part, waypoints, names))
    }
    const messages = new Map(
      [...told].map(([target, { policies, tokens }]) => [
        target,
        this.#messages.get(target, [...policies, null, ...tokens], () =>
          create(RequestPoliciesSchema, {
            target,
            policies,
            tokenRules: tokens.flatMap(({ rules }) => [...rules]),
          }),
        ),
      ]),
    )
    return { messages, findings, enforcement }
  }

  /** The oldest first. */
  #readTokens(view: ConfigView): TokenPart[] {
    return view
      .list(REQUEST_AUTHENTICATION)
      .map((object) => {
        const key = `${object.metadata.namespace}/${object.metadata.name}`
        const part = this.#tokens.get(key, [object], () => readRequestAuthentication(object))
        return { key, createdMs: object.metadata.createdMs, part }
      })
      .toSorted(compareAge)
      .map(({ part }) => part)
  }
}

/** Each once: a policy may name a service twice. */
function namesOf(
  targets: readonly PolicyTarget[],
  found: readonly (FoundTarget | undefined)[],
): ReadonlySet<string> {
  const names = new Set<string>()
  for (const [index, { kind }] of targets.entries()) {
    for (const { key } of found[index]?.services ?? []) names.add(key)
    if (kind !== 'Gateway' && kind !== 'GatewayClass') continue
    for (const waypoint of found[index]?.waypoints ?? []) names.add(gatewayTarget(waypoint))
  }
  return names
}

interface Places {
  readonly names: ReadonlySet<string>
  readonly waypoints: readonly string[]
  readonly notes: Notes
}

function placesOf(
  { object, targets, isWide }: TokenPart,
  { find, rootNamespace }: RequestWorld,
  guarded: ReadonlySet<string>,
): Places {
  const { namespace } = object.metadata
  const notes = new Notes(object)
  if (isWide) {
    const isOfMesh = namespace === rootNamespace
    const names = [...guarded].filter((name) => isOfMesh || namespaceOf(name) === namespace)
    return { names: new Set(names), waypoints: [], notes }
  }
  const found = targets.map((target) => {
    const each = find(target, namespace)
    if (each === undefined)
      notes.add(
        'POLICY_TARGET_NOT_FOUND',
        target.path,
        `there is no ${target.kind} ${target.name} for this policy`,
        'create it, or mend the name',
      )
    return each
  })
  const names = [...namesOf(targets, found)].filter((name) => guarded.has(name))
  const waypoints = [...new Set(found.flatMap((each) => each?.waypoints ?? []))].toSorted()
  return { names: new Set(names), waypoints, notes }
}

function namespaceOf(target: string): string {
  const start = target.indexOf(' ') + 1 // of a Gateway; 0: a service
  return target.slice(start, target.indexOf('/', start))
}

function enforcementOf(
  { object, isBroken }: TokenPart,
  waypoints: readonly string[],
  names: ReadonlySet<string>,
): PolicyEnforcement {
  const { generation } = object.metadata
  const subject = { object: refOf(object), generation, selects: null }
  if (names.size === 0) {
    const message = 'no waypoint is in front of what it is for; its tokens are not looked at'
    return { ...subject, kind: 'nowhere', message, caveat: null, waypoints: [] }
  }
  return isBroken
    ? {
        ...subject,
        kind: 'refused',
        message: 'what waypoints cannot read is refused',
        caveat: 'unreadable',
        waypoints,
      }
    : { ...subject, kind: 'exact', message: 'enforced by waypoints', caveat: null, waypoints }
}
