// SPDX-License-Identifier: Apache-2.0
// Who may do what with a target: its policies and token rules compiled, once for each worker and version of it. A target may
// stand for ports of several services; each of them has its say.

import { parseSocketAddress } from '../../mesh/net/address.ts'
import type { TokenRule } from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import { Authorizer, type Subject, type Verdict } from '../decide/authorize.ts'
import type { CallFacts } from '../decide/call-facts.ts'
import { RequestTokens } from '../decide/request-tokens.ts'
import type { GuardView } from '../model/views.ts'
import type { Sender } from './request-headers.ts'

interface Check {
  readonly request: Authorizer
  readonly connection: Authorizer
  readonly port: number
}

export class TargetGuard {
  readonly tokens: RequestTokens
  readonly #checks: readonly Check[]
  /** '': it was asked for by name. */
  readonly #ip: string

  constructor(guards: readonly GuardView[], authority: string) {
    this.#checks = guards
      .filter(({ policies }) => policies.policies.length > 0)
      .map(({ policies, port }) => ({
        request: new Authorizer(policies, 'request'),
        connection: new Authorizer(policies, 'connection'),
        port,
      }))
    const rules = new Map<string, TokenRule>()
    for (const { policies } of guards)
      for (const rule of policies.tokenRules) rules.set(JSON.stringify(rule, bigintText), rule)
    this.tokens = new RequestTokens([...rules.values()])
    this.#ip = parseSocketAddress(authority)?.ip ?? ''
  }

  /** There is nothing to decide. */
  get isOpen(): boolean {
    return this.#checks.length === 0 && this.tokens.isEmpty
  }

  /** `request` null: about the connection itself. */
  authorize(sender: Sender, request: CallFacts['request'], serverName = ''): Verdict {
    if (this.#checks.length === 0) return { code: null, policy: '', notes: [] }
    const subject: Subject = request === null ? 'connection' : 'request'
    const { principal, namespace, serviceAccount, sourceIp } = callerFacts(sender)
    const notes: string[] = []
    let policy = ''
    for (const check of this.#checks) {
      const verdict = check[subject].authorize({
        principal,
        namespace,
        serviceAccount,
        sourceIp,
        destinationIp: this.#ip,
        destinationPort: check.port,
        serverName,
        request,
      })
      if (verdict.notes.length > 0) notes.push(...verdict.notes)
      if (verdict.code !== null) return { code: verdict.code, policy: verdict.policy, notes }
      policy ||= verdict.policy
    }
    return { code: null, policy, notes }
  }
}

type CallerFacts = Pick<CallFacts, 'principal' | 'namespace' | 'serviceAccount' | 'sourceIp'>

/** A sender is one object as long as its connection lives. */
const callers = new WeakMap<Sender, CallerFacts>()

function callerFacts(sender: Sender): CallerFacts {
  const known = callers.get(sender)
  if (known !== undefined) return known
  const { ip, identity } = sender
  const principal = identity.replace(/^spiffe:\/\//, '')
  const [, , namespace = '', , account = ''] = principal.split('/')
  const serviceAccount = principal === '' ? '' : `${namespace}/${account}`
  const facts = { principal, namespace, serviceAccount, sourceIp: ip }
  callers.set(sender, facts)
  return facts
}

function bigintText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}` : value
}
