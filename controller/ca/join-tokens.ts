// SPDX-License-Identifier: Apache-2.0
// How a machine without Kubernetes gets in: a token that works once, for at most an hour, for one node and the
// identities of its workloads. It buys the node's own certificate; with that the node renews and asks for its
// workloads (nodeCertificateAttestor). Only a hash is stored, so a stolen store lets nobody in.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { JOIN_TOKEN_PREFIX, nodeIdentity } from '../../mesh/identity/node-identity.ts'
import {
  type Attestor,
  bearerTokenOf,
  type Enrolment,
  type Enrolments,
  parseRequestedIdentity,
} from './attestation.ts'

/** Longest life of a join token: it is typed or copied into a machine that is being set up now. */
export const MAX_JOIN_TOKEN_MS = 3_600_000
/** Identities of one node's workloads: far more than a machine runs. */
export const MAX_ALLOWED_IDENTITIES = 1_024

const ID_BYTES = 12
const SECRET_BYTES = 32 // 256 bits: nobody guesses, so a plain hash is enough
const TOKEN = new RegExp(`^sidestep-join\\.([0-9a-f]{${ID_BYTES * 2}})\\.([A-Za-z0-9_-]{43})$`)
// A name of a node is an RFC 1123 subdomain, as in Kubernetes; it becomes a part of an identity and of file names.
const NODE = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/
const MAX_NODE_LENGTH = 253 // SPEC KUBERNETES names: a DNS subdomain

/** What is stored of a token. */
export interface JoinTokenRecord {
  readonly id: string
  /** SHA-256 of the secret, in hex. */
  readonly secretHash: string
  readonly node: string
  readonly allowedIdentities: readonly string[]
  readonly createdAtMs: number
  readonly expiresAtMs: number
}

/** A record with its fate. */
export interface JoinTokenStatus extends JoinTokenRecord {
  readonly isUsed: boolean
  readonly isRevoked: boolean
}

/** Where tokens live: a directory, or Redis. Each operation is atomic for all replicas. */
export interface JoinTokenStore {
  /** @throws SYSTEM_CALL */
  add(record: JoinTokenRecord): Promise<void>
  find(id: string): Promise<JoinTokenStatus | null>
  /**
   * The node joins with this token and this key (SHA-256, hex). True for exactly one key, ever, as often as that one comes.
   */
  claim(id: string, keyHash: string): Promise<boolean>
  /** Also of a used one: its node is not enrolled any more. Unknown ids are ignored. */
  revoke(id: string): Promise<void>
  /** The token a node joined with last. */
  findByNode(node: string): Promise<JoinTokenStatus | null>
  list(): Promise<readonly JoinTokenStatus[]>
  /**
   * Forgets tokens that ended before `beforeMs` and were never used; used ones are enrolments. `fence` is that of the
   * leader. Answers how many. @throws FENCED when another leads
   */
  purge(beforeMs: number, fence: string): Promise<number>
}

/** What a token is made for. */
export interface JoinTokenRequest {
  readonly node: string
  readonly allowedIdentities: readonly string[]
  readonly lifetimeMs: number
}

/** Makes a token; the secret is in the answer and nowhere else. */
export async function createJoinToken(
  store: JoinTokenStore,
  request: JoinTokenRequest,
  trustDomain: string,
  nowMs: number,
): Promise<{ readonly id: string; readonly token: string } | Refusal> {
  const { node, allowedIdentities, lifetimeMs } = request
  if (node.length > MAX_NODE_LENGTH || !NODE.test(node))
    return refuse('CONFIG_INVALID', 'the name of a node is an RFC 1123 subdomain')
  if (!(lifetimeMs > 0 && lifetimeMs <= MAX_JOIN_TOKEN_MS))
    return refuse('CONFIG_INVALID', 'a join token lives at most an hour')
  if (allowedIdentities.length > MAX_ALLOWED_IDENTITIES)
    return refuse('CONFIG_INVALID', `at most ${MAX_ALLOWED_IDENTITIES} identities`)
  for (const identity of allowedIdentities) {
    const id = parseRequestedIdentity(identity, trustDomain)
    if (isRefusal(id)) return refuse('CONFIG_INVALID', `${identity}: ${id.detail}`)
  }
  const id = randomBytes(ID_BYTES).toString('hex')
  const secret = randomBytes(SECRET_BYTES).toString('base64url')
  await store.add({
    id,
    secretHash: hashOf(secret).toString('hex'),
    node,
    allowedIdentities,
    createdAtMs: nowMs,
    expiresAtMs: nowMs + lifetimeMs,
  })
  return { id, token: `${JOIN_TOKEN_PREFIX}${id}.${secret}` }
}

/** Believes a join token once. */
export function joinTokenAttestor(store: JoinTokenStore, trustDomain: string): Attestor {
  return {
    attest: async ({ metadata, nowMs }) => {
      const token = bearerTokenOf(metadata)
      if (token === null || isRefusal(token)) return token
      if (!token.startsWith(JOIN_TOKEN_PREFIX)) return null
      const [, id, secret] = TOKEN.exec(token) ?? []
      if (id === undefined || secret === undefined) return refuse('TOKEN_INVALID', 'malformed join token')
      const record = await store.find(id)
      if (record === null) return refuse('TOKEN_INVALID', 'unknown join token')
      // The secret first: who does not know it learns nothing about the token and cannot sound the alarm.
      if (!timingSafeEqual(hashOf(secret), Buffer.from(record.secretHash, 'hex')))
        return refuse('TOKEN_INVALID', `wrong secret for join token ${id}`)
      if (record.isRevoked) return refuse('TOKEN_INVALID', `join token ${id} was revoked`)
      // Neither after its end nor before its beginning: a clock that stepped back does not make it live longer.
      if (nowMs >= record.expiresAtMs || nowMs < record.expiresAtMs - MAX_JOIN_TOKEN_MS)
        return record.isUsed ? reused(record) : refuse('TOKEN_INVALID', `join token ${id} has expired`)
      const own = nodeIdentity(trustDomain, record.node)
      return {
        kind: 'caller',
        node: record.node,
        account: `join token ${id}`,
        // Who has a used token and asks for what it never bought is not the node.
        refusalOf: (refusal) => (record.isUsed ? reused(record) : refusal),
        authorise: async (requested) => {
          if (requested === null || requested === own) return own
          if (record.isUsed) return reused(record)
          return refuse('IDENTITY_REFUSED', 'a join token buys the certificate of its node, nothing else')
        },
        // An answer may be lost on its way: the same key is the same node.
        claim: async (publicKeyInfo) =>
          (await store.claim(id, hashOf(publicKeyInfo).toString('hex'))) ? undefined : reused(record),
      }
    },
  }
}

/** The nodes that joined and were not revoked. */
export function enrolmentsOf(store: JoinTokenStore): Enrolments {
  return {
    enrolmentOf: async (node): Promise<Enrolment | null> => {
      const record = await store.findByNode(node)
      return record === null || !record.isUsed || record.isRevoked
        ? null
        : { allowedIdentities: record.allowedIdentities }
    },
  }
}

/** Writes a record for a store. */
export function formatJoinToken(record: JoinTokenRecord): string {
  const { id, secretHash, node, allowedIdentities, createdAtMs, expiresAtMs } = record
  return `${JSON.stringify({ id, secretHash, node, allowedIdentities, createdAtMs, expiresAtMs })}\n`
}

/** Reads a stored record. @throws CA_KEY when it is damaged: a token must not be lived up to by half */
export function parseJoinToken(text: string, id: string): JoinTokenRecord {
  try {
    const read = JSON.parse(text) as Record<string, unknown> // as: looked at below
    const { secretHash, node, allowedIdentities, createdAtMs, expiresAtMs } = read
    const isWhole =
      read.id === id &&
      typeof secretHash === 'string' &&
      /^[0-9a-f]{64}$/.test(secretHash) &&
      typeof node === 'string' &&
      NODE.test(node) &&
      typeof createdAtMs === 'number' &&
      typeof expiresAtMs === 'number' &&
      Array.isArray(allowedIdentities) &&
      allowedIdentities.every((identity) => typeof identity === 'string')
    if (isWhole) return { id, secretHash, node, allowedIdentities, createdAtMs, expiresAtMs }
  } catch {
    // told below
  }
  throw new MeshError('CA_KEY', { detail: `the record of join token ${id} is damaged` })
}

function reused({ id, node }: JoinTokenRecord): Refusal {
  return refuse(
    'JOIN_TOKEN_REUSED',
    `join token ${id} of node ${node} was used before, by another key: stolen?`,
  )
}

function hashOf(bytes: string | Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}
