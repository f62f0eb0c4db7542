// SPDX-License-Identifier: Apache-2.0
// Envoy as an HBONE peer inside a namespace of a lab: its configuration from a few facts, its admin API on a Unix
// socket, its access log. Certificates come from the CA directory the lab's ztunnels share.
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { EmbeddedAuthority } from '../../mesh/identity/embedded-authority.ts'
import { createCertificateRequest, exportPrivateKey, generateKeyPair } from '../../mesh/identity/pki.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { envoyBinary } from '../../scripts/envoy.ts'
import { ForeignProcess } from './foreign-process.ts'

/** A part of Envoy's configuration: plain data. */
export type EnvoyConfig = Readonly<Record<string, unknown>>
/** Certificate, key and root as files. */
export interface CertificateFiles {
  readonly chain: string
  readonly key: string
  readonly roots: string
}

const TYPES = 'type.googleapis.com/envoy.extensions'
const TTL_SECONDS = 3600
/** Both ends keep alive; an unanswered ping would cut the tunnel within a test. */
const KEEP_ALIVE = { interval: '0.5s', timeout: '2s' }

/** Writes a certificate of the lab's CA for a service account of namespace shop. */
export async function issueFiles(
  caDirectory: string,
  directory: string,
  name: string,
): Promise<CertificateFiles> {
  const authority = await EmbeddedAuthority.open({
    directory: caDirectory,
    trustDomain: 'cluster.local',
    clock: systemClock,
  })
  const pair = await generateKeyPair()
  const identity = `spiffe://cluster.local/ns/shop/sa/${name}`
  const chain = await authority.issue(identity, await createCertificateRequest(pair, identity), TTL_SECONDS)
  const file = async (ending: string, text: string): Promise<string> => {
    const path = join(directory, `${name}.${ending}.pem`)
    await writeFile(path, text, { mode: 0o600 })
    return path
  }
  return {
    chain: await file('chain', chain[0] ?? ''),
    key: await file('key', await exportPrivateKey(pair.privateKey)),
    roots: await file('roots', authority.rootPem),
  }
}

function commonTls(files: CertificateFiles, peerPrefix: string): EnvoyConfig {
  return {
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    alpn_protocols: ['h2'],
    tls_certificates: [
      { certificate_chain: { filename: files.chain }, private_key: { filename: files.key } },
    ],
    validation_context: {
      trusted_ca: { filename: files.roots },
      match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: peerPrefix } }],
    },
  }
}

/** The transport socket of an HBONE client; the server's identity must begin with `peerPrefix`. */
export function clientTls(files: CertificateFiles, peerPrefix: string): EnvoyConfig {
  const common_tls_context = commonTls(files, peerPrefix)
  return {
    name: 'tls',
    typed_config: { '@type': `${TYPES}.transport_sockets.tls.v3.UpstreamTlsContext`, common_tls_context },
  }
}

/** The transport socket of an HBONE server, which demands a certificate. */
export function serverTls(files: CertificateFiles, peerPrefix: string): EnvoyConfig {
  return {
    name: 'tls',
    typed_config: {
      '@type': `${TYPES}.transport_sockets.tls.v3.DownstreamTlsContext`,
      require_client_certificate: true,
      common_tls_context: commonTls(files, peerPrefix),
    },
  }
}

/** A cluster of one address, plain TCP. */
export function plainCluster(name: string, ip: string, port: number): EnvoyConfig {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '5s',
    load_assignment: {
      cluster_name: name,
      endpoints: [
        { lb_endpoints: [{ endpoint: { address: { socket_address: { address: ip, port_value: port } } } }] },
      ],
    },
  }
}

/** A cluster reached by HTTP/2 over mTLS. */
export function hboneCluster(name: string, ip: string, port: number, tls: EnvoyConfig): EnvoyConfig {
  const explicit_http_config = { http2_protocol_options: { connection_keepalive: KEEP_ALIVE } }
  return {
    ...plainCluster(name, ip, port),
    transport_socket: tls,
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': `${TYPES}.upstreams.http.v3.HttpProtocolOptions`,
        explicit_http_config,
      },
    },
  }
}

/** A cluster that is asked by one version of HTTP, without TLS; trailers pass. */
export function httpCluster(name: string, port: number, version: 'h1' | 'h2', ip = '127.0.0.1'): EnvoyConfig {
  const explicit_http_config =
    version === 'h1'
      ? { http_protocol_options: { enable_trailers: true } }
      : { http2_protocol_options: { connection_keepalive: KEEP_ALIVE } }
  return {
    ...plainCluster(name, ip, port),
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': `${TYPES}.upstreams.http.v3.HttpProtocolOptions`,
        explicit_http_config,
      },
    },
  }
}

/** What a listener of HTTP may have besides. */
export interface HttpListenerOptions {
  /** Loopback where it has none. */
  readonly address?: string
  /** Gets a line for each request: its status, flags and the reason that a waypoint of ours gave. */
  readonly logPath?: string
}

/** A listener that passes every request to a cluster, with its trailers, its 100 and a change to WebSocket. */
export function httpListener(
  port: number,
  cluster: string,
  codec: 'HTTP1' | 'HTTP2',
  { address = '127.0.0.1', logPath }: HttpListenerOptions = {},
): EnvoyConfig {
  const virtual_hosts = [
    { name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster, timeout: '20s' } }] },
  ]
  return {
    name: `http-${port}`,
    address: { socket_address: { address, port_value: port } },
    filter_chains: [
      {
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': `${TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: `http-${port}`,
              codec_type: codec,
              proxy_100_continue: true,
              http_protocol_options: { enable_trailers: true },
              upgrade_configs: [{ upgrade_type: 'websocket' }],
              ...(logPath === undefined
                ? {}
                : {
                    access_log: accessLog(
                      logPath,
                      `${port} %RESPONSE_CODE% %RESPONSE_FLAGS% %RESP(X-SIDESTEP-REASON)%`,
                    ),
                  }),
              route_config: { name: 'all', virtual_hosts },
              http_filters: [
                { name: 'router', typed_config: { '@type': `${TYPES}.filters.http.router.v3.Router` } },
              ],
            },
          },
        ],
      },
    ],
  }
}

/** A line of the access log for every connection, each part in quotes. */
function accessLog(path: string, format: string): readonly EnvoyConfig[] {
  const text_format_source = { inline_string: `${format}\n` }
  return [
    {
      name: 'file',
      typed_config: {
        '@type': `${TYPES}.access_loggers.file.v3.FileAccessLog`,
        path,
        log_format: { text_format_source },
      },
    },
  ]
}

/** A listener on loopback that tunnels every connection to `authority` through a cluster. */
export function tunnelListener(
  port: number,
  cluster: string,
  authority: string,
  headers: Readonly<Record<string, string>>,
  logPath: string,
): EnvoyConfig {
  const headers_to_add = Object.entries(headers).map(([key, value]) => ({ header: { key, value } }))
  return {
    name: `tunnel-${port}`,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [
      {
        filters: [
          {
            name: 'tcp',
            typed_config: {
              '@type': `${TYPES}.filters.network.tcp_proxy.v3.TcpProxy`,
              stat_prefix: `tunnel-${port}`,
              cluster,
              tunneling_config: { hostname: authority, headers_to_add, propagate_response_headers: true },
              access_log: accessLog(
                logPath,
                `${port} %RESPONSE_FLAGS% %FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:TYPED)%`,
              ),
            },
          },
        ],
      },
    ],
  }
}

/** How the server end answers an authority: connects through a cluster, or refuses with a status. */
export type ConnectAnswer = { readonly cluster: string } | { readonly status: number }

/** An HBONE server: answers each authority its way, 404 for all others. */
export function connectListener(
  port: number,
  tls: EnvoyConfig,
  answers: Readonly<Record<string, ConnectAnswer>>,
  logPath: string,
  maxStreams = 100,
): EnvoyConfig {
  const virtual_hosts = Object.entries(answers).map(([authority, answer]) => ({
    name: authority,
    domains: [authority],
    routes: [
      {
        match: { connect_matcher: {} },
        ...('cluster' in answer
          ? {
              route: {
                cluster: answer.cluster,
                upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
              },
            }
          : { direct_response: { status: answer.status } }),
      },
    ],
  }))
  return {
    name: 'hbone',
    address: { socket_address: { address: '0.0.0.0', port_value: port } },
    filter_chains: [
      {
        transport_socket: tls,
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': `${TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: 'hbone',
              codec_type: 'HTTP2',
              drain_timeout: '0.3s',
              stream_idle_timeout: '0s',
              http2_protocol_options: {
                allow_connect: true,
                connection_keepalive: KEEP_ALIVE,
                max_concurrent_streams: maxStreams,
              },
              upgrade_configs: [{ upgrade_type: 'CONNECT' }],
              route_config: { name: 'connect', virtual_hosts },
              http_filters: [
                { name: 'router', typed_config: { '@type': `${TYPES}.filters.http.router.v3.Router` } },
              ],
              access_log: accessLog(
                logPath,
                '%REQ(:AUTHORITY)% %RESPONSE_CODE% %DOWNSTREAM_PEER_URI_SAN% [%REQ(BAGGAGE)%] [%REQ(FORWARDED)%] [%REQ(TRACEPARENT)%]',
              ),
            },
          },
        ],
      },
    ],
  }
}

/** A running Envoy. */
export class Envoy {
  readonly #process: ForeignProcess
  readonly #directory: string

  private constructor(process: ForeignProcess, directory: string) {
    this.#process = process
    this.#directory = directory
  }

  /** The path of the access log for configurations of `directory`. */
  static logPath(directory: string): string {
    return join(directory, 'envoy-access.log')
  }

  /** Live when this resolves. `directory` is the test's own. @throws Error with Envoy's log */
  static async start(
    namespace: NetworkNamespace,
    directory: string,
    listeners: readonly EnvoyConfig[],
    clusters: readonly EnvoyConfig[],
  ): Promise<Envoy> {
    const admin = { address: { pipe: { path: join(directory, 'envoy.sock') } } }
    const path = join(directory, 'envoy.json')
    await writeFile(path, JSON.stringify({ admin, static_resources: { listeners, clusters } }))
    const args = [
      '--config-path',
      path,
      '--concurrency',
      '1',
      '--disable-hot-restart',
      '--file-flush-interval-msec',
      '20',
      '--log-level',
      'warning',
    ]
    const process = new ForeignProcess(await envoyBinary(), args, { namespace })
    const envoy = new Envoy(process, directory)
    try {
      await process.until('live', async () => {
        const answer = await envoy.admin('GET', '/ready').catch(() => '')
        return answer.startsWith('LIVE') || null
      })
      return envoy
    } catch (error) {
      await process.stop()
      throw error
    }
  }

  get log(): string {
    return this.#process.log
  }

  /** Asks the admin API. */
  async admin(method: 'GET' | 'POST', path: string): Promise<string> {
    const socketPath = join(this.#directory, 'envoy.sock')
    const asked = request({ socketPath, path, method, agent: false, signal: AbortSignal.timeout(2000) })
    asked.end()
    const [response] = (await once(asked, 'response')) as [IncomingMessage] // as: what the event carries
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += chunk
    return text
  }

  /** One counter or gauge; 0 when it does not exist. */
  async stat(name: string): Promise<number> {
    const text = await this.admin('GET', `/stats?filter=^${name.replaceAll('.', '\\.')}$`)
    return Number(/: (\d+)/.exec(text)?.[1] ?? 0)
  }

  /** The first line of the access log from `from` on that matches. */
  async accessLine(pattern: RegExp, from = 0): Promise<string> {
    return await this.#process.until(`access log ${pattern}`, () => {
      const line = this.accessLines()
        .slice(from)
        .find((text) => pattern.test(text))
      return line ?? null
    })
  }
  accessLines(): string[] {
    const path = Envoy.logPath(this.#directory)
    return existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : []
  }

  async stop(): Promise<void> {
    await this.#process.stop()
  }
  /** As a crash would. */
  async kill(): Promise<void> {
    await this.#process.kill()
  }
}
