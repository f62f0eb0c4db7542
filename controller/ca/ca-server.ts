// SPDX-License-Identifier: Apache-2.0
// Istio's CA service: a request comes in, a caller is believed or not, an identity is granted or not, and only then a
// CA is asked to sign. Every end of a request is one audit record.
import { X509Certificate } from 'node:crypto'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { REASONS, type ReasonCode } from '../../mesh/errors/reasons.ts'
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { UnaryCall, UnaryMethod } from '../../mesh/grpc/calls.ts'
import { CREATE_CERTIFICATE } from '../../mesh/identity/istio-ca.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  IstioCertificateResponseSchema,
} from '../../proto/generated/istio/certificate_pb.js'
import type { Attestor, Caller } from './attestation.ts'
import type { AuditLog } from './audit.ts'
import { FAILURE_RATE, NODE_RATE, RateLimit } from './rate-limit.ts'
import { decideSigning } from './sign-request.ts'
import type { SigningAuthority, SigningPlan } from './signing.ts'

const UNAUTHENTICATED = 16

/** What the service is made of. */
export interface CaServiceOptions {
  readonly trustDomain: string
  readonly attestor: Attestor
  readonly authority: SigningAuthority
  readonly audit: AuditLog
  readonly clock: Clock
  /** Default: 90 days. */
  readonly maxTtlSeconds?: number
  readonly nodeRate?: RateLimit
  readonly failureRate?: RateLimit
}

/** What is known of a request so far: for its audit record. */
interface Traces {
  caller: Caller | null
  identity: string
}

/** The method for a GrpcServer. */
export function caMethod(options: CaServiceOptions): UnaryMethod {
  const nodeRate = options.nodeRate ?? new RateLimit(NODE_RATE)
  const failureRate = options.failureRate ?? new RateLimit(FAILURE_RATE)
  const { clock } = options
  return {
    kind: 'unary',
    path: CREATE_CERTIFICATE,
    handle: async (call) => {
      const address = addressOf(call.peer.address)
      const limited = failureRate.look(address, clock.nowMs)
      // Not audited one by one: who floods us must not fill the disk. The failures that led here are.
      if (limited !== undefined) throw wireError(limited)
      const traces: Traces = { caller: null, identity: '' }
      try {
        const chain = await serve(call, options, nodeRate, traces)
        const response = create(IstioCertificateResponseSchema, { certChain: [...chain] })
        return Buffer.from(toBinary(IstioCertificateResponseSchema, response))
      } catch (cause) {
        const error = cause instanceof MeshError ? cause : new MeshError('INTERNAL', { cause })
        if (REASONS[error.code].grpcStatus === UNAUTHENTICATED) failureRate.take(address, clock.nowMs)
        await auditRefusal(call, options, traces, error)
        throw cause instanceof MeshError ? wireError(error) : cause
      }
    },
  }
}

/** The chain. @throws MeshError when there is none */
async function serve(
  call: UnaryCall,
  options: CaServiceOptions,
  nodeRate: RateLimit,
  traces: Traces,
): Promise<readonly string[]> {
  const { attestor, authority, trustDomain, clock, maxTtlSeconds } = options
  const { metadata, peer, signal } = call
  const caller = granted(await attestor.attest({ metadata, peer, nowMs: clock.nowMs }))
  if (caller === null) throw new MeshError('IDENTITY_MISSING', { detail: 'neither token nor certificate' })
  traces.caller = caller
  granted(nodeRate.take(caller.node, clock.nowMs))
  const request = granted(parseRequest(call.request))
  const requested = granted(requestedIdentityOf(request))
  traces.identity = requested ?? ''
  const authorisedIdentity = granted(await caller.authorise(requested))
  traces.identity = authorisedIdentity
  const decided = await decideSigning({
    authorisedIdentity,
    trustDomain,
    csrPem: request.csr,
    ttlSeconds: Number(request.validityDuration),
    nowMs: clock.nowMs,
    ...(maxTtlSeconds === undefined ? {} : { maxTtlSeconds }),
  })
  const plan = granted(isRefusal(decided) ? (caller.refusalOf?.(decided) ?? decided) : decided)
  // Nobody would get the certificate: so nothing is spent and nothing is signed.
  if (signal.aborted) throw new MeshError('SHUTDOWN', { detail: 'the caller went away' })
  granted(await caller.claim?.(plan.publicKeyInfo))
  const chain = await signed(authority, plan)
  await auditSignature(call, options, traces, chain[0] ?? '')
  return chain
}

/** What fails here is ours, never the caller's: it must not look like a failure to authenticate. */
async function signed(authority: SigningAuthority, plan: SigningPlan): Promise<readonly string[]> {
  try {
    return await authority.sign(plan)
  } catch (cause) {
    if (!(cause instanceof MeshError) || REASONS[cause.code].grpcStatus !== UNAUTHENTICATED) throw cause
    const detail = `${authority.name}: ${cause.code}: ${cause.detail}`
    throw new MeshError('CERT_UNAVAILABLE', { side: 'upstream', detail, cause })
  }
}

function parseRequest(bytes: Uint8Array): IstioCertificateRequest | Refusal {
  try {
    return fromBinary(IstioCertificateRequestSchema, bytes)
  } catch {
    return refuse('CSR_INVALID', 'not an IstioCertificateRequest')
  }
}

function requestedIdentityOf({ metadata }: IstioCertificateRequest): string | null | Refusal {
  const { ImpersonatedIdentity: identity, CertSigner: signer } = metadata ?? {}
  // Another signer than the one asked for would be a silent lie.
  if (signer !== undefined && signer !== '') return refuse('CSR_INVALID', 'CertSigner is not supported')
  if (identity === undefined || identity === '') return null
  return typeof identity === 'string' ? identity : refuse('CSR_INVALID', 'ImpersonatedIdentity is no text')
}

function granted<T>(value: T | Refusal): T {
  if (isRefusal(value)) throw new MeshError(value.code, { detail: value.detail })
  return value
}

/** What the caller is told. Why it was not believed is for the audit record: it would help who tries. */
export function wireError(error: { readonly code: ReasonCode; readonly detail: string }): MeshError {
  const { code, detail } = error
  // Where we keep what we know is nobody's business, and that it is away says nothing about the caller.
  if (/^(REDIS|APISERVER)_/.test(code))
    return new MeshError('CERT_UNAVAILABLE', {
      side: 'upstream',
      retryable: true,
      detail: 'who may have what cannot be looked up now',
      cause: error,
    })
  return new MeshError(code, REASONS[code].grpcStatus === UNAUTHENTICATED ? {} : { detail })
}

async function auditSignature(
  call: UnaryCall,
  { audit, clock }: CaServiceOptions,
  traces: Traces,
  leafPem: string,
): Promise<void> {
  const leaf = new X509Certificate(leafPem) // node's reader: our own leaf needs no suspicion, and this is the hot path
  await audit.write({
    ...subjectOf(call, traces),
    atMs: clock.nowMs,
    event: 'signed',
    reason: 'OK',
    serialNumber: BigInt(`0x${leaf.serialNumber}`).toString(),
    notAfterMs: leaf.validToDate.getTime(),
  })
}

async function auditRefusal(
  call: UnaryCall,
  { audit, clock }: CaServiceOptions,
  traces: Traces,
  { code, detail }: MeshError,
): Promise<void> {
  await audit.write({
    ...subjectOf(call, traces),
    atMs: clock.nowMs,
    event: 'refused',
    reason: code,
    detail,
  })
}

function subjectOf(call: UnaryCall, { caller, identity }: Traces) {
  return {
    account: caller?.account ?? '',
    node: caller?.node ?? '',
    peer: call.peer.address,
    identity,
  }
}

/** Without the port: a client has many. */
function addressOf(peer: string): string {
  return peer.slice(0, Math.max(0, peer.lastIndexOf(':')))
}
