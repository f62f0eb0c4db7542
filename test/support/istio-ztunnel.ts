// SPDX-License-Identifier: Apache-2.0
// Istio's ztunnel as a peer: one process for one pod, inside the pod's namespace, with the pod's traffic redirected
// to it by our own rules (same ports, same marks) and certificates of the CA our ztunnels use.
import { existsSync } from 'node:fs'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import {
  applyRedirectRules,
  MESH_MARK,
  NAT_TABLE,
  redirectRules,
} from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { ForeignProcess, runForeign } from './foreign-process.ts'
import { type IstioCa, startIstioCa } from './istio-ca.ts'

/** A line of its access log. */
export type IstioRecord = Readonly<Record<string, string>>

/** The program under test. @throws Error when the environment does not name it */
export function istioBinary(): string {
  const path = process.env.ZTUNNEL_BIN ?? ''
  if (path === '') throw new Error('set ZTUNNEL_BIN to the path of a build of Istio’s ztunnel')
  if (!existsSync(path)) throw new Error(`ZTUNNEL_BIN: there is no ${path}`)
  return path
}

/** What it is started with. */
export interface IstioOptions {
  readonly namespace: NetworkNamespace
  /** `namespace/name/service account`. */
  readonly workload: string
  readonly meshFile: string
  readonly caDirectory: string
  /** The test's own. */
  readonly directory: string
  /** Of the pod; default: the default one. */
  readonly network?: string
}

/** What it is started with under a controller. */
export interface IstioUnderController {
  readonly namespace: NetworkNamespace
  /** `namespace/name/service account`. */
  readonly workload: string
  readonly node: string
  /** `host:port`. */
  readonly address: string
  readonly rootsFile: string
  readonly token: string
}

const COMMON = {
  PROXY_MODE: 'dedicated',
  PACKET_MARK: String(MESH_MARK),
  ENABLE_ORIG_SRC: 'true',
  ISTIO_META_DNS_CAPTURE: 'false',
  ZTUNNEL_WORKER_THREADS: '1',
  LOG_FORMAT: 'json',
  RUST_LOG: 'info',
}

/** A running ztunnel of Istio's with its CA. */
export class IstioZtunnel {
  readonly #process: ForeignProcess
  readonly #ca: IstioCa | null

  private constructor(process: ForeignProcess, ca: IstioCa | null) {
    this.#process = process
    this.#ca = ca
  }

  /** Serves the pod when this resolves. @throws Error with its log */
  static async start(options: IstioOptions): Promise<IstioZtunnel> {
    const { namespace, workload, meshFile, caDirectory, directory, network = '' } = options
    const binary = istioBinary()
    const ca = await startIstioCa(namespace, caDirectory, directory)
    const environment = {
      ...COMMON,
      PROXY_WORKLOAD_INFO: workload,
      NETWORK: network,
      XDS_ADDRESS: '',
      LOCAL_XDS_PATH: meshFile,
      CA_ADDRESS: ca.url,
      CA_ROOT_CA: ca.rootFile,
      AUTH_TOKEN: 'a token of the test',
    }
    applyRedirectRules(namespace, redirectRules())
    return IstioZtunnel.#run(binary, namespace, environment, ca)
  }

  /** Learns everything from a controller. @throws Error with its log */
  static async startUnder(options: IstioUnderController): Promise<IstioZtunnel> {
    const { namespace, workload, node, address, rootsFile, token } = options
    const environment = {
      ...COMMON,
      PROXY_WORKLOAD_INFO: workload,
      NODE_NAME: node,
      XDS_ADDRESS: `https://${address}`,
      CA_ADDRESS: `https://${address}`,
      XDS_ROOT_CA: rootsFile,
      CA_ROOT_CA: rootsFile,
      AUTH_TOKEN: token,
    }
    applyRedirectRules(namespace, redirectRules())
    // In dedicated mode it does not mark its own connection to the controller, which would be redirected to itself.
    const host = address.slice(0, address.lastIndexOf(':'))
    const rule = ['insert', 'rule', 'inet', NAT_TABLE, 'output', 'ip', 'daddr', host, 'accept']
    await runForeign('nft', rule, { namespace })
    return IstioZtunnel.#run(istioBinary(), namespace, environment, null)
  }

  static async #run(
    binary: string,
    namespace: NetworkNamespace,
    environment: Readonly<Record<string, string>>,
    ca: IstioCa | null,
  ): Promise<IstioZtunnel> {
    const process = new ForeignProcess(binary, ['proxy'], { namespace, environment })
    const ztunnel = new IstioZtunnel(process, ca)
    try {
      await process.until(
        'ready',
        () => /marked ready.*|Readiness.*ready|marking server ready/i.test(process.log) || null,
      )
      return ztunnel
    } catch (error) {
      await ztunnel.stop()
      throw error
    }
  }

  get log(): string {
    return this.#process.log
  }
  /** The identities it asked certificates for. */
  get askedIdentities(): readonly string[] {
    return this.#ca?.asked ?? []
  }
  /** Its lines about finished connections. */
  get records(): IstioRecord[] {
    const lines = this.#process.log.split('\n').filter((line) => line.includes('"scope":"access"'))
    return lines.map((line) => JSON.parse(line) as IstioRecord) // as: its access log is flat
  }
  get hasEnded(): boolean {
    return this.#process.hasEnded
  }

  /** The first record beyond `known` that holds. */
  async recordAfter(known: number, holds: (record: IstioRecord) => boolean): Promise<IstioRecord> {
    return await this.#process.until('a record', () => this.records.slice(known).find(holds) ?? null)
  }

  async stop(): Promise<void> {
    await this.#process.stop()
    this.#ca?.close()
  }
}
