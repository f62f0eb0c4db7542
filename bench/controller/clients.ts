// SPDX-License-Identifier: Apache-2.0
// Simulated ztunnels: they join, follow and acknowledge as real ones do, and throw away what they are told. A child of
// the bench, so that what they cost is not the controller's.
// usage: node clients.ts <address> <roots file> <tokens file>   talks to its parent over IPC
import { readFileSync } from 'node:fs'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, DELTA_PATH } from '../../mesh/discovery/protocol.ts'
import { openGrpcClient } from '../../mesh/grpc/client.ts'
import { openClientStream } from '../../mesh/grpc/stream-client.ts'
import { certificateRequests } from '../../mesh/identity/certificate-requests.ts'
import { requestCertificate } from '../../mesh/identity/istio-ca.ts'
import { nodeIdentity } from '../../mesh/identity/node-identity.ts'
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
} from '../../proto/generated/envoy/discovery_pb.js'

/** What the parent hears. */
export type ClientReport =
  | { readonly type: 'joined' }
  /** A response with at least one resource was acknowledged; epoch milliseconds, fractions included. */
  | {
      readonly type: 'acknowledged'
      readonly client: number
      readonly resources: number
      readonly atMs: number
    }
  | { readonly type: 'certificate'; readonly ms: number; readonly failure: string }
  | { readonly type: 'lost'; readonly client: number; readonly detail: string }
/** What the parent says. */
export type ClientCommand =
  | { readonly type: 'follow' }
  | { readonly type: 'certificates'; readonly count: number; readonly perSecond: number }

/** A node with the certificate it joined with. */
interface Node {
  readonly name: string
  readonly connection: {
    readonly rootsPem: string
    readonly identity: { readonly certificatePem: string; readonly privateKeyPem: string }
  }
}

const TRUST_DOMAIN = 'cluster.local'
const CONNECT_TIMEOUT_MS = 30_000
const tell = (report: ClientReport): void => void process.send?.(report, () => {})
const nowMs = (): number => performance.timeOrigin + performance.now()

async function join(address: string, rootsPem: string, name: string, token: string): Promise<Node> {
  const client = openGrpcClient({ address, rootsPem })
  const { owner, csrPem } = await certificateRequests.begin(nodeIdentity(TRUST_DOMAIN, name))
  const facts = { csrPem, ttlSeconds: 3600, impersonatedIdentity: null }
  const chain = await requestCertificate(client, facts, { authorization: `Bearer ${token}` })
  client.close()
  const certificatePem = chain.slice(0, -1).join('')
  return { name, connection: { rootsPem, identity: { certificatePem, privateKeyPem: owner.privateKeyPem } } }
}

function follow(address: string, { name, connection }: Node, client: number): void {
  const stream = openClientStream({ ...connection, address }, DELTA_PATH, {}, CONNECT_TIMEOUT_MS, {
    onMessage: (bytes) => {
      const { typeUrl, nonce: responseNonce, resources } = fromBinary(DeltaDiscoveryResponseSchema, bytes)
      stream.write(
        toBinary(
          DeltaDiscoveryRequestSchema,
          create(DeltaDiscoveryRequestSchema, { typeUrl, responseNonce }),
        ),
      )
      if (resources.length > 0)
        tell({ type: 'acknowledged', client, resources: resources.length, atMs: nowMs() })
    },
    onClose: (code, details) => tell({ type: 'lost', client, detail: `${code} ${details}` }),
  })
  for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) {
    const node = { id: name, metadata: {} }
    stream.write(
      toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, { node, typeUrl })),
    )
  }
}

/** Asks at an even pace for certificates, each node for its own in turn, with keys that were made before. */
async function certificates(
  address: string,
  nodes: readonly Node[],
  count: number,
  perSecond: number,
): Promise<void> {
  const clients = nodes.map(({ connection }) => openGrpcClient({ ...connection, address }))
  const requests = await Promise.all(
    nodes.map(({ name }) => certificateRequests.begin(nodeIdentity(TRUST_DOMAIN, name))),
  )
  for (let index = 0; index < count; index++) {
    const at = index % nodes.length
    const client = clients[at]
    const csrPem = requests[at]?.csrPem ?? ''
    if (client !== undefined) void ask(client, csrPem)
    await new Promise((resolve) => setTimeout(resolve, 1000 / perSecond))
  }
}

async function ask(client: ReturnType<typeof openGrpcClient>, csrPem: string): Promise<void> {
  const startMs = performance.now()
  const failure = await requestCertificate(
    client,
    { csrPem, ttlSeconds: 3600, impersonatedIdentity: null },
    {},
  ).then(
    () => '',
    (error: unknown) => String(error),
  )
  tell({ type: 'certificate', ms: performance.now() - startMs, failure })
}

if (import.meta.main) {
  const [address = '', rootsFile = '', tokensFile = ''] = process.argv.slice(2)
  const rootsPem = readFileSync(rootsFile, 'utf8')
  const tokens = JSON.parse(readFileSync(tokensFile, 'utf8')) as Record<string, string> // as: the bench wrote it
  const nodes: Node[] = []
  for (const [name, token] of Object.entries(tokens)) nodes.push(await join(address, rootsPem, name, token))
  process.on('message', (command: ClientCommand) => {
    if (command.type === 'follow') nodes.forEach((node, index) => void follow(address, node, index))
    else void certificates(address, nodes, command.count, command.perSecond)
  })
  process.on('disconnect', () => process.exit())
  tell({ type: 'joined' })
}
