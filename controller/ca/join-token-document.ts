// SPDX-License-Identifier: Apache-2.0
// Join tokens in one text of a KeyStore, changed by compare-and-swap: for replicas whose only shared store is one, as a
// Secret. A record stays the text that it was made as, so that a damaged one harms no other.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { isMap } from '../watch/value-mistakes.ts'
import { formatJoinToken, type JoinTokenStatus, type JoinTokenStore, parseJoinToken } from './join-tokens.ts'
import type { KeyStore } from './key-store.ts'

const NAME = 'join-tokens'
const ID = /^[0-9a-f]{24}$/
const MAX_ATTEMPTS = 100 // writes by others between our look and our write: more is a defect
const MAX_DOCUMENT_BYTES = 700_000 // a Secret holds 1 MiB in base64: about 1,500 machines

/** A token as the document has it. */
interface Entry {
  readonly record: string
  /** Hash of the key that its node joined with; null: not used. */
  readonly usedBy: string | null
  readonly isRevoked: boolean
}

interface Document {
  readonly tokens: ReadonlyMap<string, Entry>
  /** The token each node joined with last. */
  readonly nodes: ReadonlyMap<string, string>
}

const EMPTY: Document = { tokens: new Map(), nodes: new Map() }

/** The store in `keys`. */
export function openJoinTokenDocument(keys: KeyStore): JoinTokenStore {
  const read = async (): Promise<Document> => {
    const stored = await keys.read(NAME)
    return stored === null ? EMPTY : parseDocument(stored.text)
  }
  /** `step` is asked again after every write of somebody else; null: nothing is to be changed. */
  const change = async (step: (document: Document) => Document | null): Promise<boolean> => {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const stored = await keys.read(NAME)
      const document = step(stored === null ? EMPTY : parseDocument(stored.text))
      if (document === null) return false
      const text = formatDocument(document)
      if (Buffer.byteLength(text) > MAX_DOCUMENT_BYTES)
        throw new MeshError('REQUEST_INVALID', {
          detail: 'there is no room for more join tokens: revoke what is not needed and wait for a day',
        })
      if (await keys.write(NAME, text, stored?.version ?? null)) return true
    }
    throw new MeshError('SYSTEM_CALL', { detail: 'join tokens change faster than they can be written' })
  }
  const find = async (id: string): Promise<JoinTokenStatus | null> => statusIn(await read(), id)
  return {
    find,
    add: async (record) => {
      const entry = { record: formatJoinToken(record), usedBy: null, isRevoked: false }
      await change((document) =>
        document.tokens.has(record.id) ? null : withToken(document, record.id, entry),
      )
    },
    claim: (id, keyHash) =>
      change((document) => {
        const status = statusIn(document, id)
        if (status === null || status.isRevoked) return null
        if (status.isUsed && document.tokens.get(id)?.usedBy !== keyHash) return null
        if (status.isUsed) return document
        const claimed = withFate(document, id, { usedBy: keyHash })
        return { ...claimed, nodes: new Map(claimed.nodes).set(status.node, id) }
      }),
    revoke: async (id) => {
      // Not parsed: also a damaged token can be revoked.
      await change((document) =>
        document.tokens.has(id) ? withFate(document, id, { isRevoked: true }) : null,
      )
    },
    findByNode: async (node) => {
      const document = await read()
      return statusIn(document, document.nodes.get(node) ?? '')
    },
    list: async () => {
      const document = await read()
      return [...document.tokens.keys()].flatMap((id) => statusIn(document, id) ?? [])
    },
    // The compare-and-swap is the fence: what was decided on an old document is not written.
    purge: async (beforeMs) => {
      let removed = 0
      await change((document) => {
        const kept = [...document.tokens].filter(([id]) => !isForgotten(document, id, beforeMs))
        removed = document.tokens.size - kept.length
        return removed === 0 ? null : { ...document, tokens: new Map(kept) }
      })
      return removed
    },
  }
}

/** Ended, and nobody's enrolment: never used, or its node has joined anew since. */
function isForgotten(document: Document, id: string, beforeMs: number): boolean {
  try {
    const status = statusIn(document, id)
    if (status === null || status.expiresAtMs >= beforeMs) return false
    return !status.isUsed || document.nodes.get(status.node) !== id
  } catch {
    return false // a damaged one tells no end: it is left to people
  }
}

/** @throws CA_KEY when the record is damaged */
function statusIn({ tokens }: Document, id: string): JoinTokenStatus | null {
  const entry = tokens.get(id)
  if (entry === undefined) return null
  const { record, usedBy, isRevoked } = entry
  return { ...parseJoinToken(record, id), isUsed: usedBy !== null, isRevoked }
}

function withToken(document: Document, id: string, entry: Entry): Document {
  return { ...document, tokens: new Map(document.tokens).set(id, entry) }
}

function withFate(document: Document, id: string, fate: Partial<Entry>): Document {
  const entry = document.tokens.get(id)
  return entry === undefined ? document : withToken(document, id, { ...entry, ...fate })
}

function formatDocument({ tokens, nodes }: Document): string {
  return `${JSON.stringify({ tokens: Object.fromEntries(tokens), nodes: Object.fromEntries(nodes) })}\n`
}

/** @throws CA_KEY when it is none: what is not understood must not be overwritten */
function parseDocument(text: string): Document {
  try {
    const value: unknown = JSON.parse(text)
    if (isMap(value) && isMap(value.tokens) && isMap(value.nodes)) {
      const tokens = Object.entries(value.tokens).map(([id, entry]) => [id, parseEntry(id, entry)] as const)
      const nodes = Object.entries(value.nodes).map(([node, id]) => [node, String(id)] as const)
      return { tokens: new Map(tokens), nodes: new Map(nodes) }
    }
  } catch (cause) {
    if (cause instanceof MeshError) throw cause
  }
  throw new MeshError('CA_KEY', { detail: 'the stored join tokens are damaged' })
}

/** What is not clearly unused is used. */
function parseEntry(id: string, value: unknown): Entry {
  if (!ID.test(id) || !isMap(value))
    throw new MeshError('CA_KEY', { detail: 'the stored join tokens are damaged' })
  const { record, usedBy, isRevoked } = value
  return {
    record: typeof record === 'string' ? record : '',
    usedBy: usedBy === null ? null : String(usedBy),
    isRevoked: isRevoked !== false,
  }
}
