// SPDX-License-Identifier: Apache-2.0
// What one object says about routes, read once: rules and matches with references resolved, before it is known which services
// it concerns and what else concerns them.
import type { MessageInitShape } from '@bufbuild/protobuf'
import type {
  BackendSchema,
  FilterSchema,
  HttpMatchSchema,
  HttpRuleSchema,
  TcpRuleSchema,
} from '../../../proto/generated/sidestep/v1/routes_pb.js'
import type { ConfigObject } from '../../watch/config-object.ts'
import type { Fields } from '../fields.ts'
import { Notes } from '../notes.ts'
import type { ServiceInfo } from '../service-info.ts'
import type { ConfigFinding } from '../translation.ts'

export type Init<T> = Exclude<T, { readonly $typeName: string }>
export type BackendInit = Init<MessageInitShape<typeof BackendSchema>>
export type FilterInit = Init<MessageInitShape<typeof FilterSchema>> & { readonly kind: object }
export type MatchInit = Init<MessageInitShape<typeof HttpMatchSchema>>
export type HttpRuleInit = Init<MessageInitShape<typeof HttpRuleSchema>>
export type TcpRuleInit = Init<MessageInitShape<typeof TcpRuleSchema>>

/** One way into one rule. */
export interface EntryPart {
  readonly match: MatchInit
  /** Index into the rules of its part. */
  readonly rule: number
  /** What decides between matches, the first number first; the greater comes before. Empty: they stand in order. */
  readonly rank: readonly number[]
  /** The only port of the service that it is for; 0: all. */
  readonly port: number
}

/** A rule for connections. */
export interface TcpPart {
  readonly rule: TcpRuleInit
  /** As above. */
  readonly port: number
}

/** What an object says. Another object when anything of it changed. */
export interface RulesPart {
  readonly object: ConfigObject
  readonly rules: readonly HttpRuleInit[]
  readonly entries: readonly EntryPart[]
  readonly tcp: readonly TcpPart[]
  readonly tls: readonly TcpPart[]
  /** Of its references, the first that leads nowhere. */
  readonly badRef: BadRef | null
  /** Rules that cannot be acted on as they are written: their requests are refused. */
  readonly refused: { readonly count: number; readonly of: number; readonly first: string }
  /** Services, `<namespace>/<hostname>`, that it sends to. */
  readonly backends: readonly string[]
  readonly findings: readonly ConfigFinding[]
}

/** SPEC GATEWAY-API reasons of ResolvedRefs. */
export type RefReason = 'RefNotPermitted' | 'InvalidKind' | 'BackendNotFound'
export interface BadRef {
  readonly reason: RefReason
  readonly message: string
}

/** What a reference comes to. The same object as long as nothing changed. */
export type FoundBackend = ServiceInfo | 'missing' | 'forbidden'

/** A question for the services of the mesh. */
export type BackendAsk =
  /** A Service, by its name, which may need somebody's permission. `isParent`: what asks is for it, and for nothing else. */
  | { readonly by: 'name'; readonly namespace: string; readonly name: string; readonly isParent: boolean }
  /** Anything with this host, as somebody in that namespace writes it. */
  | { readonly by: 'host'; readonly namespace: string; readonly name: string }

export type FindBackend = (ask: BackendAsk) => FoundBackend

/** The reading of one object. */
export class RouteReading {
  readonly object: ConfigObject
  readonly notes: Notes
  readonly find: FindBackend
  badRef: BadRef | null = null
  /** The only parent, `<namespace>/<name>` of a Service; '': there are others. */
  parentService = ''
  readonly backends = new Set<string>()
  /** Errors among the notes that concern one reference only. */
  #refErrors = 0
  #unserved = 0

  constructor(object: ConfigObject, find: FindBackend) {
    this.object = object
    this.notes = new Notes(object)
    this.find = find
  }

  /** Notes a reference that leads nowhere; returns what is told in the answer. */
  refuseRef(reason: RefReason, path: string, message: string, fix: string): string {
    const code = reason === 'RefNotPermitted' ? 'ROUTE_REF_NOT_PERMITTED' : 'ROUTE_BACKEND_NOT_FOUND'
    this.notes.add(code, path, message, fix)
    this.#refErrors++
    this.badRef ??= { reason, message }
    return message
  }

  /** Notes fields that the mesh does not act on, and that could change what the others mean. */
  allow(fields: Fields, known: readonly string[]): void {
    for (const key of fields.keys()) if (!known.includes(key)) this.refuseField(fields, key)
  }

  /** The same of one field, or of what it says. */
  refuseField(fields: Fields, key: string, what = 'this field is not served'): void {
    this.#unserved++
    this.notes.add(
      'FIELD_NOT_SERVED',
      fields.pathOf(key),
      `${what}; what it is about is refused`,
      'remove it',
    )
  }

  /** Notes a field without which the rest means the same. */
  noteUnserved(fields: Fields, known: Readonly<Record<string, string>>): void {
    for (const [key, fix] of Object.entries(known))
      if (fields.raw(key) !== undefined)
        this.notes.add('FIELD_NOT_SERVED', fields.pathOf(key), 'the mesh does not act on it', fix)
  }

  /** Grows with everything that cannot be acted on as it is written, references aside. */
  get mistakes(): number {
    return this.notes.errors - this.#refErrors + this.#unserved
  }
}
