// SPDX-License-Identifier: Apache-2.0
// Sets of addresses in nf_tables: how their parts look on the wire, both ways. SPEC NFTABLES (linux/netfilter/nf_tables.h)
import { MeshError } from '../../errors/mesh-error.ts'
import { formatIp, ipToBytes } from '../../net/address.ts'
import { nestedOf, trusted } from './connection.ts'
import { type Attributes, type MessageBuilder, parseAttributes } from './message.ts'

const NFTA_SET_TABLE = 1
const NFTA_SET_NAME = 2
const NFTA_SET_FLAGS = 3
const NFTA_SET_KEY_TYPE = 4
const NFTA_SET_KEY_LEN = 5
const NFTA_SET_ID = 10
const NFTA_SET_ELEM_LIST_TABLE = 1
const NFTA_SET_ELEM_LIST_SET = 2
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
const NFTA_SET_ELEM_KEY = 1
const NFTA_DATA_VALUE = 1
const NFTA_LIST_ELEM = 1
/** A list of attributes is at most 64 KiB; an element of IPv6 is 28 bytes. */
const ELEMENTS_PER_MESSAGE = 1_000
/** nft's own numbers for types: the kernel only keeps them. */
const TYPES = { ipv4_addr: { type: 7, bytes: 4 }, ipv6_addr: { type: 8, bytes: 16 } } as const

/** A set of addresses of one family, without a network's. */
export interface NfSet {
  readonly name: string
  readonly type: keyof typeof TYPES
  /** Texts, each once. */
  readonly elements: readonly string[]
}

/** Creates a set; `id` tells it from the others of the batch. */
export function writeSet(message: MessageBuilder, table: string, { name, type }: NfSet, id: number): void {
  message.text(NFTA_SET_TABLE, table).text(NFTA_SET_NAME, name).u32be(NFTA_SET_FLAGS, 0)
  message.u32be(NFTA_SET_KEY_TYPE, TYPES[type].type).u32be(NFTA_SET_KEY_LEN, TYPES[type].bytes)
  message.u32be(NFTA_SET_ID, id)
}

/** The elements in parts that a message can hold. @throws NETLINK for what is no address of the set's family */
export function elementParts({ name, type, elements }: NfSet): readonly (readonly Uint8Array[])[] {
  const keys = elements.map((element) => {
    const bytes = ipToBytes(element)
    if (bytes?.length !== TYPES[type].bytes)
      throw new MeshError('NETLINK', { detail: `${JSON.stringify(element)} is no ${type} for set ${name}` })
    return bytes
  })
  return Array.from({ length: Math.ceil(keys.length / ELEMENTS_PER_MESSAGE) }, (_, part) =>
    keys.slice(part * ELEMENTS_PER_MESSAGE, (part + 1) * ELEMENTS_PER_MESSAGE),
  )
}

/** Names a set in a question about elements. */
export function writeElementsOf(message: MessageBuilder, table: string, set: string): void {
  message.text(NFTA_SET_ELEM_LIST_TABLE, table).text(NFTA_SET_ELEM_LIST_SET, set)
}

/** Adds elements to a set. */
export function writeElements(
  message: MessageBuilder,
  table: string,
  set: string,
  keys: readonly Uint8Array[],
): void {
  writeElementsOf(message, table, set)
  message.nest(NFTA_SET_ELEM_LIST_ELEMENTS, (list) => {
    for (const key of keys)
      list.nest(NFTA_LIST_ELEM, (element) =>
        element.nest(NFTA_SET_ELEM_KEY, (data) => data.attribute(NFTA_DATA_VALUE, key)),
      )
  })
}

/** A set without its elements; null when it is of another table, or of a type that is not ours. */
export function readSet(attributes: Attributes, table: string): NfSet | null {
  if (attributes.text(NFTA_SET_TABLE) !== table) return null
  const code = attributes.u32be(NFTA_SET_KEY_TYPE)
  const type =
    code === TYPES.ipv4_addr.type ? 'ipv4_addr' : code === TYPES.ipv6_addr.type ? 'ipv6_addr' : null
  return type === null ? null : { name: attributes.text(NFTA_SET_NAME) ?? '', type, elements: [] }
}

/** The elements that a message lists. */
export function readElements(attributes: Attributes): string[] {
  return nestedOf(attributes, NFTA_SET_ELEM_LIST_ELEMENTS)
    .all(NFTA_LIST_ELEM)
    .flatMap((element) => {
      const key = nestedOf(trusted(parseAttributes(element)), NFTA_SET_ELEM_KEY).get(NFTA_DATA_VALUE)
      const ip = key === undefined ? undefined : formatIp(key)
      return ip === undefined ? [] : [ip]
    })
}
