// SPDX-License-Identifier: Apache-2.0
// Who asks the CA, and which identity he may have. An Attestor believes a token or a client certificate; what the
// caller says of itself (its node, its pod) counts for nothing. Refusals are for the audit record: on the wire every
// failure to authenticate is the same.
import { X509Certificate } from 'node:crypto'
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { CallMetadata, CallPeer } from '../../mesh/grpc/calls.ts'
import { NODE_NAMESPACE, nodeIdentity } from '../../mesh/identity/node-identity.ts'
import { parseSpiffeId, type SpiffeId } from '../../mesh/identity/spiffe.ts'

/** Longest token: a service account's has 1 to 2 KiB. */
export const MAX_TOKEN_BYTES = 8_192

/** What an Attestor looks at. */
export interface Credentials {
  readonly metadata: CallMetadata
  readonly peer: CallPeer
  readonly nowMs: number
}

/** Someone who is known. */
export interface Caller {
  readonly kind: 'caller'
  /** Counted, limited and audited by it. */
  readonly node: string
  /** For people: `ns/sa`, `join token <id>`, `node certificate`. */
  readonly account: string
  /** `ns/sa` of all that it may get a certificate for, where that is known; default: `account`. */
  readonly accounts?: readonly string[]
  /**
   * The identity the caller gets when it asks for `requested` (null: for its own), or why not.
   * @throws MeshError CERT_UNAVAILABLE when it cannot be found out now
   */
  authorise(requested: string | null): Promise<string | Refusal>
  /** What a request is refused for that asks for something else than it may; default: what it asks wrongly. */
  refusalOf?(refusal: Refusal): Refusal
  /**
   * Called once, after everything else was decided and right before the signature: spends what can be spent once. The
   * key (DER, SubjectPublicKeyInfo) that it is spent on may come again: it has not heard the answer.
   */
  claim?(publicKeyInfo: Uint8Array): Promise<Refusal | undefined>
}

/** Knows one kind of credentials. */
export interface Attestor {
  /**
   * The caller, why it is not believed, or null: no credentials of this kind.
   * @throws MeshError CERT_UNAVAILABLE when it cannot be found out now
   */
  attest(credentials: Credentials): Promise<Caller | Refusal | null>
}

/** Asks each in turn; the first that knows the kind decides. */
export function anyAttestor(attestors: readonly Attestor[]): Attestor {
  return {
    attest: async (credentials) => {
      for (const attestor of attestors) {
        const caller = await attestor.attest(credentials)
        if (caller !== null) return caller
      }
      return null
    },
  }
}

/** The bearer token of a call, or null. */
export function bearerTokenOf(metadata: CallMetadata): string | Refusal | null {
  const header = metadata.get('authorization')
  if (header === undefined) return null
  const token = /^bearer +([\x21-\x7e]+)$/i.exec(header)?.[1]
  if (token === undefined) return refuse('TOKEN_INVALID', 'no bearer token in the authorization header')
  return token.length > MAX_TOKEN_BYTES ? refuse('TOKEN_INVALID', 'the token is too long') : token
}

/** Reads an identity somebody asks for; those of nodes and of other trust domains are never asked for this way. */
export function parseRequestedIdentity(requested: string, trustDomain: string): SpiffeId | Refusal {
  const id = parseSpiffeId(requested)
  if (isRefusal(id)) return refuse('IDENTITY_REFUSED', id.detail)
  if (id.trustDomain !== trustDomain) return refuse('IDENTITY_REFUSED', 'of another trust domain')
  if (id.namespace === NODE_NAMESPACE) return refuse('IDENTITY_REFUSED', 'the identity of a node')
  return id
}

/** Says whether a certificate was revoked. */
export interface RevocationCheck {
  /** `serialNumber` in decimal. */
  isRevoked(serialNumber: string): Promise<boolean>
}

/** What a node may do that joined. */
export interface Enrolment {
  readonly allowedIdentities: readonly string[]
}

/** Knows the nodes that joined: see join-tokens.ts. */
export interface Enrolments {
  /** Null: never joined, or revoked. */
  enrolmentOf(node: string): Promise<Enrolment | null>
}

/**
 * Believes the certificate of a node that joined by token: how it renews its own and asks for those of its
 * workloads. The TLS server has verified it against our roots; that it is of a node, not revoked and its node still
 * enrolled is checked here.
 */
export function nodeCertificateAttestor(options: {
  readonly trustDomain: string
  readonly enrolments: Enrolments
  readonly revocations: RevocationCheck
}): Attestor {
  const { trustDomain, enrolments, revocations } = options
  return {
    attest: async ({ metadata, peer, nowMs }) => {
      // A token says more than a certificate: a connection may be shared by several callers.
      if (peer.certificateDer === undefined || metadata.get('authorization') !== undefined) return null
      const certificate = new X509Certificate(peer.certificateDer)
      const node = nodeOf(certificate, trustDomain)
      if (isRefusal(node)) return node
      // It was valid at the handshake, which may be days ago.
      if (nowMs >= certificate.validToDate.getTime())
        return refuse('CERT_EXPIRED', `the certificate of node ${node} has expired`)
      if (await revocations.isRevoked(BigInt(`0x${certificate.serialNumber}`).toString()))
        return refuse('CERT_REVOKED', `the certificate of node ${node} was revoked`)
      const enrolment = await enrolments.enrolmentOf(node)
      if (enrolment === null) return refuse('TOKEN_INVALID', `node ${node} is not enrolled`)
      return {
        kind: 'caller',
        node,
        account: 'node certificate',
        accounts: enrolment.allowedIdentities.flatMap(accountOf),
        authorise: async (requested) => {
          if (requested === null || requested === nodeIdentity(trustDomain, node))
            return nodeIdentity(trustDomain, node)
          const id = parseRequestedIdentity(requested, trustDomain)
          if (isRefusal(id)) return id
          if (enrolment.allowedIdentities.includes(requested)) return requested
          return refuse('IDENTITY_REFUSED', `not on the list of node ${node}: ${requested}`)
        },
      }
    },
  }
}

function accountOf(identity: string): string[] {
  const id = parseSpiffeId(identity)
  return isRefusal(id) ? [] : [`${id.namespace}/${id.serviceAccount}`]
}

function nodeOf(certificate: X509Certificate, trustDomain: string): string | Refusal {
  // Our own leaves have exactly one name; anything else is not one of ours, whoever signed it.
  const name = /^URI:([^,"]+)$/.exec(certificate.subjectAltName ?? '')?.[1]
  const id = parseSpiffeId(name ?? '')
  if (isRefusal(id) || id.trustDomain !== trustDomain || id.namespace !== NODE_NAMESPACE)
    return refuse('TOKEN_INVALID', 'the client certificate is not that of a node')
  return id.serviceAccount
}
