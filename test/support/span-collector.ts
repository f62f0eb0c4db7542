// SPDX-License-Identifier: Apache-2.0
// A collector of spans in a network namespace: takes what nodes post, or behaves as badly as a test wants.
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import type { OtlpSpan } from '../../mesh/tracing/otlp.ts'

/** A span, and the node that it is from. */
export interface CollectedSpan extends OtlpSpan {
  readonly node: string
}

interface Posted {
  readonly resourceSpans: readonly {
    readonly resource: {
      readonly attributes: readonly {
        readonly key: string
        readonly value: { readonly stringValue: string }
      }[]
    }
    readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[]
  }[]
}

/** Owns its socket: close() it. */
export class SpanCollector {
  readonly spans: CollectedSpan[] = []
  readonly port: number
  readonly #server: Server
  readonly #stalled = new Set<ServerResponse>()
  #mode: 'take' | 'stall' | 'refuse' = 'take'

  constructor(namespace: NetworkNamespace) {
    this.#server = createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request.setEncoding('utf8')) body += chunk
      if (this.#mode === 'stall') this.#stalled.add(response)
      else if (this.#mode === 'refuse') response.writeHead(400).end('no')
      else {
        this.#keep(JSON.parse(body) as Posted) // as: what is looked at
        response.end('{}')
      }
    })
    namespace.run(() => this.#server.listen(0))
    this.port = (this.#server.address() as AddressInfo).port // as: TCP
  }

  /** Requests that wait for an answer when a server stops stalling are cut. */
  set mode(mode: 'take' | 'stall' | 'refuse') {
    this.#mode = mode
    if (mode === 'stall') return
    for (const response of this.#stalled) response.destroy()
    this.#stalled.clear()
  }

  get stalledCount(): number {
    return this.#stalled.size
  }

  /** The value of an attribute, as text. */
  static attribute({ attributes }: OtlpSpan, key: string): string {
    const value = attributes.find((each) => each.key === key)?.value ?? {}
    return String(Object.values(value)[0] ?? '')
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  #keep({ resourceSpans }: Posted): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      const node = resource.attributes.find(({ key }) => key === 'k8s.node.name')?.value.stringValue ?? ''
      for (const { spans } of scopeSpans) this.spans.push(...spans.map((span) => ({ node, ...span })))
    }
  }
}
