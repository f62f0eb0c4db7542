// SPDX-License-Identifier: Apache-2.0
// The wire form of nf_tables expressions, both ways. What is read back equals what was written, so that a rule set
// can be compared with the kernel's; expressions of others come back as `unknown`.
// SPEC NFTABLES (linux/netfilter/nf_tables.h): attributes are nested NLA, numbers are big endian.
import { nestedOf } from './connection.ts'
import type { Attributes, MessageBuilder } from './message.ts'
import {
  BASES,
  CT_KEYS,
  type Expression,
  META_KEYS,
  OPERATORS,
  VERDICTS,
  type Verdict,
} from './nf-expressions.ts'

const NFTA_LIST_ELEM = 1
const NFTA_EXPR_NAME = 1
const NFTA_EXPR_DATA = 2
const NFTA_DATA_VALUE = 1
const NFTA_DATA_VERDICT = 2
const NFTA_VERDICT_CODE = 1
const NFTA_VERDICT_CHAIN = 2
const NFTA_IMMEDIATE_DREG = 1
const NFTA_IMMEDIATE_DATA = 2
const NFTA_BITWISE_SREG = 1
const NFTA_BITWISE_DREG = 2
const NFTA_BITWISE_LEN = 3
const NFTA_BITWISE_MASK = 4
const NFTA_BITWISE_XOR = 5
const NFTA_BITWISE_OP = 6
const NFTA_CMP_SREG = 1
const NFTA_CMP_OP = 2
const NFTA_CMP_DATA = 3
const NFTA_PAYLOAD_DREG = 1
const NFTA_PAYLOAD_BASE = 2
const NFTA_PAYLOAD_OFFSET = 3
const NFTA_PAYLOAD_LEN = 4
const NFTA_META_DREG = 1
const NFTA_META_KEY = 2
const NFTA_META_SREG = 3
const NFTA_CT_DREG = 1
const NFTA_CT_KEY = 2
const NFTA_CT_DIRECTION = 3
const NFTA_CT_SREG = 4
const IP_CT_DIR_ORIGINAL = 0
const NFTA_COUNTER_BYTES = 1
const NFTA_COUNTER_PACKETS = 2
const NFTA_LOOKUP_SET = 1
const NFTA_LOOKUP_SREG = 2
const NFTA_LOOKUP_FLAGS = 5
const NFTA_NAT_TYPE = 1
const NFTA_NAT_FAMILY = 2
const NFTA_NAT_REG_ADDR_MIN = 3
const NFT_NAT_SNAT = 0
const NF_FAMILIES = { 4: 2, 6: 10 } as const
const NFTA_REDIR_REG_PROTO_MIN = 1
const NFTA_REDIR_FLAGS = 3
const NFTA_LIMIT_RATE = 1
const NFTA_LIMIT_UNIT = 2
const NFTA_LIMIT_BURST = 3
const NFTA_LIMIT_TYPE = 4
const NFTA_LIMIT_FLAGS = 5
const NFTA_LOG_GROUP = 1
const NFTA_REJECT_TYPE = 1
const NFT_REJECT_TCP_RST = 1
const NFT_REG_VERDICT = 0
const NFT_REG_1 = 1
const NF_NAT_RANGE_PROTO_SPECIFIED = 2

/** What a rule has counted. */
export interface RuleCounters {
  readonly packets: number
  readonly bytes: number
}

/** Writes one expression as a list element. */
export function writeExpression(list: MessageBuilder, expression: Expression): void {
  list.nest(NFTA_LIST_ELEM, (element) => {
    element.text(NFTA_EXPR_NAME, wireName(expression))
    element.nest(NFTA_EXPR_DATA, (data) => writeData(data, expression))
  })
}

function wireName(expression: Expression): string {
  switch (expression.kind) {
    case 'metaSet':
      return 'meta'
    case 'ctSet':
      return 'ct'
    case 'compare':
      return 'cmp'
    case 'verdict':
      return 'immediate'
    case 'redirect':
      return 'redir'
    case 'sourceNat':
      return 'nat'
    case 'resetTcp':
      return 'reject'
    case 'unknown':
      return expression.name
    default:
      return expression.kind
  }
}

function writeValue(data: MessageBuilder, type: number, hex: string): void {
  data.nest(type, (value) => value.attribute(NFTA_DATA_VALUE, Buffer.from(hex, 'hex')))
}

function writeData(data: MessageBuilder, expression: Expression): void {
  switch (expression.kind) {
    case 'meta':
      data.u32be(NFTA_META_KEY, META_KEYS[expression.key]).u32be(NFTA_META_DREG, NFT_REG_1)
      return
    case 'metaSet':
      data.u32be(NFTA_META_KEY, META_KEYS[expression.key]).u32be(NFTA_META_SREG, NFT_REG_1)
      return
    case 'ct':
      data.u32be(NFTA_CT_KEY, CT_KEYS[expression.key]).u32be(NFTA_CT_DREG, NFT_REG_1)
      return
    case 'ctSet':
      data.u32be(NFTA_CT_KEY, CT_KEYS[expression.key]).u32be(NFTA_CT_SREG, NFT_REG_1)
      if (expression.direction !== undefined) data.u8(NFTA_CT_DIRECTION, IP_CT_DIR_ORIGINAL)
      return
    case 'payload':
      data.u32be(NFTA_PAYLOAD_DREG, NFT_REG_1).u32be(NFTA_PAYLOAD_BASE, BASES[expression.base])
      data.u32be(NFTA_PAYLOAD_OFFSET, expression.offset).u32be(NFTA_PAYLOAD_LEN, expression.bytes)
      return
    case 'bitwise':
      data.u32be(NFTA_BITWISE_SREG, NFT_REG_1).u32be(NFTA_BITWISE_DREG, NFT_REG_1)
      data.u32be(NFTA_BITWISE_LEN, expression.mask.length / 2)
      writeValue(data, NFTA_BITWISE_MASK, expression.mask)
      writeValue(data, NFTA_BITWISE_XOR, expression.xor)
      return
    case 'compare':
      data.u32be(NFTA_CMP_SREG, NFT_REG_1).u32be(NFTA_CMP_OP, OPERATORS[expression.operator])
      writeValue(data, NFTA_CMP_DATA, expression.value)
      return
    case 'immediate':
      data.u32be(NFTA_IMMEDIATE_DREG, NFT_REG_1)
      writeValue(data, NFTA_IMMEDIATE_DATA, expression.value)
      return
    case 'verdict':
      writeVerdict(data, expression.verdict, expression.chain)
      return
    case 'lookup':
      data.text(NFTA_LOOKUP_SET, expression.set).u32be(NFTA_LOOKUP_SREG, NFT_REG_1)
      return
    case 'sourceNat':
      data.u32be(NFTA_NAT_TYPE, NFT_NAT_SNAT).u32be(NFTA_NAT_FAMILY, NF_FAMILIES[expression.family])
      data.u32be(NFTA_NAT_REG_ADDR_MIN, NFT_REG_1)
      return
    case 'redirect':
      // Older kernels do not conclude the flag from the register.
      data.u32be(NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1)
      data.u32be(NFTA_REDIR_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED)
      return
    case 'limit':
      data.u64be(NFTA_LIMIT_RATE, expression.perSecond).u64be(NFTA_LIMIT_UNIT, 1)
      data.u32be(NFTA_LIMIT_BURST, expression.burst)
      data.u32be(NFTA_LIMIT_TYPE, 0).u32be(NFTA_LIMIT_FLAGS, 0)
      return
    case 'log':
      data.attribute(NFTA_LOG_GROUP, Buffer.of(expression.group >> 8, expression.group & 255))
      return
    case 'resetTcp':
      data.u32be(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST)
      return
    default: // a counter starts at zero; what we do not know, the kernel refuses
  }
}

function writeVerdict(data: MessageBuilder, verdict: Verdict, chain: string): void {
  data.u32be(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT)
  data.nest(NFTA_IMMEDIATE_DATA, (value) => {
    value.nest(NFTA_DATA_VERDICT, (inner) => {
      inner.u32be(NFTA_VERDICT_CODE, VERDICTS[verdict])
      if (chain !== '') inner.text(NFTA_VERDICT_CHAIN, chain)
    })
  })
}

/** Reads one list element; counters come beside it. */
export function readExpression(element: Attributes): {
  readonly expression: Expression
  readonly counters: RuleCounters | null
} {
  const name = element.text(NFTA_EXPR_NAME) ?? ''
  const data = nestedOf(element, NFTA_EXPR_DATA)
  if (name !== 'counter') {
    return { expression: readData(name, data) ?? { kind: 'unknown', name }, counters: null }
  }
  const counters = {
    packets: data.u64be(NFTA_COUNTER_PACKETS) ?? 0,
    bytes: data.u64be(NFTA_COUNTER_BYTES) ?? 0,
  }
  return { expression: { kind: 'counter' }, counters }
}

/** The key whose value is `code`, in a table of codes. */
export function keyOf<K extends string>(
  table: Readonly<Record<K, number>>,
  code: number | undefined,
): K | null {
  for (const key in table) if (table[key] === code) return key
  return null
}

function readValue(data: Attributes, type: number): string | null {
  return nestedOf(data, type).get(NFTA_DATA_VALUE)?.toString('hex') ?? null
}

function readData(name: string, data: Attributes): Expression | null {
  switch (name) {
    case 'meta': {
      const key = keyOf(META_KEYS, data.u32be(NFTA_META_KEY))
      return key === null ? null : { kind: isLoad(data, NFTA_META_DREG) ? 'meta' : 'metaSet', key }
    }
    case 'ct': {
      const key = keyOf(CT_KEYS, data.u32be(NFTA_CT_KEY))
      if (key === null) return null
      const direction = data.get(NFTA_CT_DIRECTION)?.[0]
      if (isLoad(data, NFTA_CT_DREG)) return direction === undefined ? { kind: 'ct', key } : null
      if (direction === undefined) return { kind: 'ctSet', key }
      return direction === IP_CT_DIR_ORIGINAL ? { kind: 'ctSet', key, direction: 'original' } : null
    }
    case 'payload': {
      const base = keyOf(BASES, data.u32be(NFTA_PAYLOAD_BASE))
      if (base === null || !isLoad(data, NFTA_PAYLOAD_DREG)) return null
      const offset = data.u32be(NFTA_PAYLOAD_OFFSET) ?? 0
      return { kind: 'payload', base, offset, bytes: data.u32be(NFTA_PAYLOAD_LEN) ?? 0 }
    }
    case 'bitwise': {
      const mask = readValue(data, NFTA_BITWISE_MASK)
      const xor = readValue(data, NFTA_BITWISE_XOR)
      const isBoolean = (data.u32be(NFTA_BITWISE_OP) ?? 0) === 0
      return mask === null || xor === null || !isBoolean ? null : { kind: 'bitwise', mask, xor }
    }
    case 'cmp': {
      const operator = keyOf(OPERATORS, data.u32be(NFTA_CMP_OP))
      const value = readValue(data, NFTA_CMP_DATA)
      return operator === null || value === null ? null : { kind: 'compare', operator, value }
    }
    case 'immediate':
      return readImmediate(data)
    case 'lookup': {
      const isOurs = (data.u32be(NFTA_LOOKUP_FLAGS) ?? 0) === 0
      return isOurs ? { kind: 'lookup', set: data.text(NFTA_LOOKUP_SET) ?? '' } : null
    }
    case 'nat': {
      const family = data.u32be(NFTA_NAT_FAMILY) === NF_FAMILIES[6] ? 6 : 4
      const isOurs = data.u32be(NFTA_NAT_TYPE) === NFT_NAT_SNAT && isLoad(data, NFTA_NAT_REG_ADDR_MIN)
      return isOurs ? { kind: 'sourceNat', family } : null
    }
    case 'redir':
      return data.u32be(NFTA_REDIR_REG_PROTO_MIN) === undefined ? null : { kind: 'redirect' }
    case 'limit': {
      const isOurs = data.u64be(NFTA_LIMIT_UNIT) === 1 && (data.u32be(NFTA_LIMIT_FLAGS) ?? 0) === 0
      const [perSecond, burst] = [data.u64be(NFTA_LIMIT_RATE) ?? 0, data.u32be(NFTA_LIMIT_BURST) ?? 0]
      return isOurs && (data.u32be(NFTA_LIMIT_TYPE) ?? 0) === 0 ? { kind: 'limit', perSecond, burst } : null
    }
    case 'log': {
      const group = data.get(NFTA_LOG_GROUP)
      return group === undefined || group.length < 2 ? null : { kind: 'log', group: group.readUInt16BE(0) }
    }
    case 'reject':
      return data.u32be(NFTA_REJECT_TYPE) === NFT_REJECT_TCP_RST ? { kind: 'resetTcp' } : null
    default:
      return null
  }
}

function isLoad(data: Attributes, register: number): boolean {
  return data.get(register) !== undefined
}

function readImmediate(data: Attributes): Expression | null {
  if (data.u32be(NFTA_IMMEDIATE_DREG) !== NFT_REG_VERDICT) {
    const value = readValue(data, NFTA_IMMEDIATE_DATA)
    return value === null ? null : { kind: 'immediate', value }
  }
  const verdictData = nestedOf(nestedOf(data, NFTA_IMMEDIATE_DATA), NFTA_DATA_VERDICT)
  const code = verdictData.u32be(NFTA_VERDICT_CODE)
  const verdict = keyOf(VERDICTS, code === undefined ? undefined : code | 0)
  return verdict === null
    ? null
    : { kind: 'verdict', verdict, chain: verdictData.text(NFTA_VERDICT_CHAIN) ?? '' }
}
