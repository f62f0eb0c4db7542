// SPDX-License-Identifier: Apache-2.0
// nf_tables over nfnetlink: whole tables are replaced, removed and read. One batch is one transaction: the kernel
// takes all of it or nothing, and packets never see a state between.
// SPEC NFTABLES (linux/netfilter/nf_tables.h, nfnetlink.h)
import { E } from '../ffi/libc.ts'
import { attributesOf, type BatchMessage, type NetlinkConnection, nestedOf, trusted } from './connection.ts'
import {
  type Attributes,
  type MessageBuilder,
  type NetlinkMessage,
  NLM_F_APPEND,
  NLM_F_CREATE,
  parseAttributes,
} from './message.ts'
import { keyOf, type RuleCounters, readExpression, writeExpression } from './nf-expression-codec.ts'
import type { Expression, Expressions } from './nf-expressions.ts'
import {
  elementParts,
  type NfSet,
  readElements,
  readSet,
  writeElements,
  writeElementsOf,
  writeSet,
} from './nf-sets.ts'

const SUBSYSTEM = 10
const BATCH_BEGIN = 16
const BATCH_END = 17
const NFGENMSG_BYTES = 4
const NFT_MSG = {
  NEWTABLE: 0,
  GETTABLE: 1,
  DELTABLE: 2,
  NEWCHAIN: 3,
  GETCHAIN: 4,
  NEWRULE: 6,
  GETRULE: 7,
  NEWSET: 9,
  GETSET: 10,
  NEWSETELEM: 12,
  GETSETELEM: 13,
  GETGEN: 16,
} as const
const NFTA_GEN_ID = 1
const NFTA_TABLE_NAME = 1
const NFTA_CHAIN_TABLE = 1
const NFTA_CHAIN_NAME = 3
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
const NFTA_HOOK_HOOKNUM = 1
const NFTA_HOOK_PRIORITY = 2
const NFTA_RULE_TABLE = 1
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_HANDLE = 3
const NFTA_RULE_EXPRESSIONS = 4
const NFTA_LIST_ELEM = 1
const FAMILIES = { inet: 1, ip: 2, ip6: 10 } as const
const HOOKS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const
const POLICIES = { drop: 0, accept: 1 } as const

/** `inet` sees IPv4 and IPv6. */
export type NfFamily = keyof typeof FAMILIES
export type NfHook = keyof typeof HOOKS

/** Where packets enter a chain. Lower priorities come first. */
export interface NfBase {
  readonly type: 'filter' | 'nat' | 'route'
  readonly hook: NfHook
  readonly priority: number
  readonly policy: 'accept' | 'drop'
}

/** Rules in order; `base` is null for chains that are only jumped to. */
export interface NfChain {
  readonly name: string
  readonly base: NfBase | null
  readonly rules: readonly Expressions[]
}

/** A table with all it holds. */
export interface NfTable {
  readonly family: NfFamily
  readonly name: string
  readonly chains: readonly NfChain[]
  /** Rules look addresses up in them. */
  readonly sets?: readonly NfSet[]
}

/** Names a table. */
export type NfTableName = Pick<NfTable, 'family' | 'name'>

/** A rule as the kernel holds it. */
export interface InstalledRule {
  readonly handle: number
  readonly expressions: Expressions
  /** Of its first counter; null when it counts nothing. */
  readonly counters: RuleCounters | null
}
/** A chain as the kernel holds it. */
export interface InstalledChain {
  readonly name: string
  readonly base: NfBase | null
  readonly rules: readonly InstalledRule[]
}
/** A table as the kernel holds it. */
export interface InstalledTable extends NfTableName {
  readonly chains: readonly InstalledChain[]
  /** Left out when there is none. */
  readonly sets?: readonly NfSet[]
}

function nfgenmsg(family: number, resource = 0): Buffer {
  return Buffer.of(family, 0, resource >> 8, resource & 255)
}

function batchLimit(type: number): BatchMessage {
  return { type, flags: 0, write: (message) => message.raw(nfgenmsg(0, SUBSYSTEM)) }
}

function change(
  type: number,
  flags: number,
  family: NfFamily,
  write: (builder: MessageBuilder) => void,
): BatchMessage {
  const header = nfgenmsg(FAMILIES[family])
  return { type: (SUBSYSTEM << 8) | type, flags, write: (message) => write(message.raw(header)) }
}

/** Adding before deleting makes the deletion right whether the table was there or not. */
function removal(table: NfTableName): BatchMessage[] {
  const name = (message: MessageBuilder): void => {
    message.text(NFTA_TABLE_NAME, table.name)
  }
  return [
    change(NFT_MSG.NEWTABLE, NLM_F_CREATE, table.family, name),
    change(NFT_MSG.DELTABLE, 0, table.family, name),
  ]
}

function creation(table: NfTable): BatchMessage[] {
  const messages = [
    change(NFT_MSG.NEWTABLE, NLM_F_CREATE, table.family, (message) =>
      message.text(NFTA_TABLE_NAME, table.name),
    ),
  ]
  for (const [index, set] of (table.sets ?? []).entries()) {
    const elements = elementParts(set).map((keys) =>
      change(NFT_MSG.NEWSETELEM, NLM_F_CREATE, table.family, (message) =>
        writeElements(message, table.name, set.name, keys),
      ),
    )
    messages.push(
      change(NFT_MSG.NEWSET, NLM_F_CREATE, table.family, (message) =>
        writeSet(message, table.name, set, index + 1),
      ),
      ...elements,
    )
  }
  // All chains come before the first rule: a rule may jump to a later chain.
  for (const chain of table.chains) {
    messages.push(
      change(NFT_MSG.NEWCHAIN, NLM_F_CREATE, table.family, (message) => writeChain(message, table, chain)),
    )
  }
  for (const chain of table.chains) {
    for (const rule of chain.rules) {
      messages.push(
        change(NFT_MSG.NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table.family, (message) => {
          message.text(NFTA_RULE_TABLE, table.name).text(NFTA_RULE_CHAIN, chain.name)
          message.nest(NFTA_RULE_EXPRESSIONS, (list) => {
            for (const expression of rule) writeExpression(list, expression)
          })
        }),
      )
    }
  }
  return messages
}

function writeChain(message: MessageBuilder, table: NfTable, chain: NfChain): void {
  message.text(NFTA_CHAIN_TABLE, table.name).text(NFTA_CHAIN_NAME, chain.name)
  const base = chain.base
  if (base === null) return
  message.nest(NFTA_CHAIN_HOOK, (hook) => {
    hook.u32be(NFTA_HOOK_HOOKNUM, HOOKS[base.hook]).u32be(NFTA_HOOK_PRIORITY, base.priority)
  })
  message.u32be(NFTA_CHAIN_POLICY, POLICIES[base.policy]).text(NFTA_CHAIN_TYPE, base.type)
}

/**
 * Makes the tables what is given, in one transaction: older tables of the same names go in the same step, others
 * stay untouched; those `removed` go with them. @throws NETLINK, and then nothing has changed
 */
export function replaceTables(
  connection: NetlinkConnection,
  tables: readonly NfTable[],
  removed: readonly NfTableName[] = [],
): void {
  const messages = [
    ...removed.flatMap(removal),
    ...tables.flatMap((table) => [...removal(table), ...creation(table)]),
  ]
  connection.batch(batchLimit(BATCH_BEGIN), messages, batchLimit(BATCH_END), 'replace tables')
}

/** Removes tables in one transaction. Those that are gone already are fine. @throws NETLINK */
export function deleteTables(connection: NetlinkConnection, tables: readonly NfTableName[]): void {
  connection.batch(batchLimit(BATCH_BEGIN), tables.flatMap(removal), batchLimit(BATCH_END), 'delete tables')
}

/** A number that every change of any table of the namespace makes another one. @throws NETLINK */
export function readGeneration(connection: NetlinkConnection): number | null {
  const type = (SUBSYSTEM << 8) | NFT_MSG.GETGEN
  const [reply] = connection.request(type, 0, (message) => message.raw(nfgenmsg(0)), {
    label: 'get generation',
  })
  return reply === undefined ? null : (attributesOf(reply, NFGENMSG_BYTES).u32be(NFTA_GEN_ID) ?? null)
}

/** Names of the tables of the families we use. */
export function listTables(connection: NetlinkConnection): readonly NfTableName[] {
  const tables: NfTableName[] = []
  for (const message of dumpAll(connection, NFT_MSG.GETTABLE, 0, () => undefined, 'list tables')) {
    const family = keyOf(FAMILIES, message.payload[0])
    if (family === null) continue
    tables.push({ family, name: attributesOf(message, NFGENMSG_BYTES).text(NFTA_TABLE_NAME) ?? '' })
  }
  return tables
}

/** Names of all chains of all families, with their tables'. @throws NETLINK */
export function listChains(
  connection: NetlinkConnection,
): readonly { readonly table: string; readonly name: string }[] {
  return dumpAll(connection, NFT_MSG.GETCHAIN, 0, () => undefined, 'list chains').map((message) => {
    const attributes = attributesOf(message, NFGENMSG_BYTES)
    return {
      table: attributes.text(NFTA_CHAIN_TABLE) ?? '',
      name: attributes.text(NFTA_CHAIN_NAME) ?? '',
    }
  })
}

/** A table with its chains, rules and counters; null when there is none of that name. @throws NETLINK */
export function readTable(connection: NetlinkConnection, table: NfTableName): InstalledTable | null {
  const exists = listTables(connection).some((it) => it.family === table.family && it.name === table.name)
  if (!exists) return null
  const family = FAMILIES[table.family]
  const rules = readRules(connection, table)
  const chains: InstalledChain[] = []
  for (const message of dumpAll(connection, NFT_MSG.GETCHAIN, family, () => undefined, 'list chains')) {
    const attributes = attributesOf(message, NFGENMSG_BYTES)
    if (message.payload[0] !== family || attributes.text(NFTA_CHAIN_TABLE) !== table.name) continue
    const name = attributes.text(NFTA_CHAIN_NAME) ?? ''
    chains.push({ name, base: readBase(attributes), rules: rules.get(name) ?? [] })
  }
  const sets = readSets(connection, table)
  return { family: table.family, name: table.name, ...(sets.length > 0 && { sets }), chains }
}

/** The rules of a table by chain, with counters; none when there is no such table. @throws NETLINK */
export function readRules(
  connection: NetlinkConnection,
  table: NfTableName,
): ReadonlyMap<string, readonly InstalledRule[]> {
  const family = FAMILIES[table.family]
  const rules = new Map<string, InstalledRule[]>()
  const filter = (message: MessageBuilder): void => {
    message.text(NFTA_RULE_TABLE, table.name)
  }
  for (const message of dumpAll(connection, NFT_MSG.GETRULE, family, filter, 'list rules')) {
    const attributes = attributesOf(message, NFGENMSG_BYTES)
    if (message.payload[0] !== family || attributes.text(NFTA_RULE_TABLE) !== table.name) continue
    const chain = attributes.text(NFTA_RULE_CHAIN) ?? ''
    const list = rules.get(chain) ?? []
    list.push(readRule(attributes))
    rules.set(chain, list)
  }
  return rules
}

/** What an installed table was made of: without handles and counters, to compare with what it should be. */
export function withoutState(table: InstalledTable): NfTable {
  return {
    family: table.family,
    name: table.name,
    ...(table.sets !== undefined && { sets: table.sets }),
    chains: table.chains.map((chain) => ({
      name: chain.name,
      base: chain.base,
      rules: chain.rules.map((rule) => rule.expressions),
    })),
  }
}

/** Of our types, with their elements in an order of their own. */
function readSets(connection: NetlinkConnection, { family, name }: NfTableName): NfSet[] {
  const number = FAMILIES[family]
  const sets: NfSet[] = []
  for (const message of dumpAll(connection, NFT_MSG.GETSET, number, () => undefined, 'list sets')) {
    const set = readSet(attributesOf(message, NFGENMSG_BYTES), name)
    if (message.payload[0] === number && set !== null) sets.push(set)
  }
  return sets.map((set) => {
    const write = (message: MessageBuilder): void => writeElementsOf(message, name, set.name)
    const messages = dumpAll(connection, NFT_MSG.GETSETELEM, number, write, 'list elements')
    const elements = messages.flatMap((message) => readElements(attributesOf(message, NFGENMSG_BYTES)))
    return { ...set, elements: elements.toSorted() }
  })
}

function dumpAll(
  connection: NetlinkConnection,
  type: number,
  family: number,
  write: (builder: MessageBuilder) => void,
  label: string,
): readonly NetlinkMessage[] {
  // A table that vanished between two reads has nothing to list.
  const options = { label, tolerated: [E.NOENT] }
  return connection.dump((SUBSYSTEM << 8) | type, (message) => write(message.raw(nfgenmsg(family))), options)
}

function readRule(attributes: Attributes): InstalledRule {
  const expressions: Expression[] = []
  let counters: RuleCounters | null = null
  for (const element of nestedOf(attributes, NFTA_RULE_EXPRESSIONS).all(NFTA_LIST_ELEM)) {
    const read = readExpression(trusted(parseAttributes(element)))
    expressions.push(read.expression)
    counters ??= read.counters
  }
  return { handle: attributes.u64be(NFTA_RULE_HANDLE) ?? 0, expressions, counters }
}

function readBase(attributes: Attributes): NfBase | null {
  const hook = nestedOf(attributes, NFTA_CHAIN_HOOK)
  const hookName = keyOf(HOOKS, hook.u32be(NFTA_HOOK_HOOKNUM))
  if (hookName === null) return null
  const type = attributes.text(NFTA_CHAIN_TYPE)
  return {
    type: type === 'nat' || type === 'route' ? type : 'filter',
    hook: hookName,
    priority: (hook.u32be(NFTA_HOOK_PRIORITY) ?? 0) | 0,
    policy: attributes.u32be(NFTA_CHAIN_POLICY) === POLICIES.drop ? 'drop' : 'accept',
  }
}
