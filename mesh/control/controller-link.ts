// SPDX-License-Identifier: Apache-2.0
// How a ztunnel calls its controllers: whom it trusts, and what it shows of itself. A file holds either a token of a
// service account, renewed in place, or a join token for a machine outside Kubernetes. Loaded only when there is a
// controller: gRPC has its price in memory.
import { readFile } from 'node:fs/promises'
import { MeshError } from '../errors/mesh-error.ts'
import { AnyServer, type CallCredentials } from '../grpc/any-server.ts'
import type { GrpcAnswer } from '../grpc/client.ts'
import type { CertificateIssuer } from '../identity/ca-client.ts'
import type { CertificateRequests } from '../identity/certificate-requests.ts'
import { IstioCa } from '../identity/istio-ca.ts'
import { JOIN_TOKEN_PREFIX } from '../identity/node-identity.ts'
import type { CertificateStatus } from '../identity/secret-manager.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import { readTokenFile } from '../runtime/token-file.ts'
import { type EdgeReport, encodeEdgeReport, REPORT_EDGES } from '../telemetry/edge-report.ts'
import { NodeCertificate } from './node-certificate.ts'

/** Longest wait for a controller to take a report. */
const REPORT_TIMEOUT_MS = 5_000

/** `https://istiod.istio-system.svc:15012,other:15012` → `host:port` each. */
export function parseAddresses(text: string): readonly string[] {
  return text
    .split(',')
    .map((address) =>
      address
        .trim()
        .replace(/^https:\/\//, '')
        .replace(/\/$/, ''),
    )
    .filter((address) => address !== '')
}

/** What a link is made of. */
export interface ControllerLinkOptions {
  readonly caAddresses: readonly string[]
  readonly controllerAddresses: readonly string[]
  /** PEM file of the roots of the controllers' certificates; '' means those of the system. */
  readonly rootsFile: string
  /** '' : nothing is shown. */
  readonly tokenFile: string
  readonly clusterId: string
  /** Where a node keeps its certificate. */
  readonly stateDirectory: string
  readonly nodeName: string
  readonly trustDomain: string
  readonly requests: CertificateRequests
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
}

export class ControllerLink {
  readonly #options: ControllerLinkOptions
  readonly #cas: IstioCa[] = []
  readonly #controllers: AnyServer
  #node: NodeCertificate | null = null

  /** Asks for workload certificates. */
  readonly issuer: CertificateIssuer

  constructor(options: ControllerLinkOptions) {
    this.#options = options
    this.#controllers = new AnyServer(options.controllerAddresses)
    this.issuer = this.#caWith(() => this.credentials(), true)
  }

  /** Looks who this node is: one that joins, or joined before, has a certificate of its own. */
  async start(): Promise<void> {
    if (!(await this.#isJoining())) return
    const { stateDirectory, nodeName, trustDomain, tokenFile } = this.#options
    const { requests, clock, random, log } = this.#options
    this.#node = new NodeCertificate({
      ...{ directory: stateDirectory, nodeName, trustDomain, requests, clock, random, log },
      issuerWith: (credentials) => this.#caWith(credentials, false),
      rootsPem: () => this.#roots(),
      joinToken: () => readTokenFile(tokenFile),
    })
    await this.#node.start()
  }

  /** How a controller is called now. @throws CERT_UNAVAILABLE when a file is missing or the node has not joined */
  async credentials(): Promise<CallCredentials> {
    if (this.#node !== null) return this.#node.credentials()
    const { tokenFile, clusterId } = this.#options
    const rootsPem = await this.#roots()
    // SPEC XDS §1.1: without a token neither header is sent.
    const headers =
      tokenFile === ''
        ? {}
        : { authorization: `Bearer ${await readTokenFile(tokenFile)}`, clusterid: clusterId }
    return { connection: rootsPem === undefined ? {} : { rootsPem }, headers }
  }

  /** Tells a controller who talks to whom; null: without credentials there is no way to one. */
  async reportEdges(report: EdgeReport): Promise<GrpcAnswer | null> {
    const credentials = await this.credentials().catch(() => null)
    if (credentials === null) return null
    return await this.#controllers.call(
      REPORT_EDGES,
      encodeEdgeReport(report),
      credentials,
      REPORT_TIMEOUT_MS,
    )
  }

  /** The node's own certificate; null for one that shows a token of a service account. */
  nodeCertificate(): CertificateStatus | null {
    return this.#node?.status() ?? null
  }

  close(): void {
    this.#node?.close()
    for (const ca of this.#cas) ca.close()
  }

  #caWith(credentials: () => Promise<CallCredentials>, impersonates: boolean): IstioCa {
    const ca = new IstioCa({ addresses: this.#options.caAddresses, credentials, impersonates })
    this.#cas.push(ca)
    return ca
  }

  async #isJoining(): Promise<boolean> {
    const { tokenFile, stateDirectory } = this.#options
    if (tokenFile === '') return false
    try {
      return (await readTokenFile(tokenFile)).startsWith(JOIN_TOKEN_PREFIX)
    } catch {
      // A projected token may come later; a join token may have been removed once it had been used.
      return NodeCertificate.isSavedIn(stateDirectory)
    }
  }

  async #roots(): Promise<string | undefined> {
    const { rootsFile } = this.#options
    return rootsFile === '' ? undefined : read(rootsFile)
  }
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new MeshError('CERT_UNAVAILABLE', { retryable: true, detail: `${path} is unreadable`, cause })
  }
}
