// SPDX-License-Identifier: Apache-2.0
// Envoy's bootstrap for both ends of a CONNECT tunnel over mTLS and HTTP/2. Pure. Windows and TLS version are those
// of our tunnels, so that neither is limited by a default of the other.
import { BULK_PORT, SERVER_IP, WEB_PORT } from '../lab.ts'

const HBONE_PORT = 15_008
const OUTBOUND_PORT = 15_001
/** What Istio's ztunnel and ours advertise: SPEC wire-protocols §3.2. */
export const HTTP2_OPTIONS = {
  initial_stream_window_size: 4_194_304,
  initial_connection_window_size: 16_777_216,
}
export const TYPE = 'type.googleapis.com/envoy.extensions'
const SOL_SOCKET = 1
const SO_MARK = 36

/** Files of one end: its certificate and key, and the root both trust. */
export interface EnvoyFiles {
  readonly certificate: string
  readonly key: string
  readonly root: string
}

export type Json = Readonly<Record<string, unknown>>

/** TLS 1.3, h2, trusting the one root. */
export function tlsContext(files: EnvoyFiles): Json {
  return {
    alpn_protocols: ['h2'],
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    tls_certificates: [
      { certificate_chain: { filename: files.certificate }, private_key: { filename: files.key } },
    ],
    validation_context: { trusted_ca: { filename: files.root } },
  }
}

export function address(ip: string, port: number): Json {
  return { socket_address: { address: ip, port_value: port } }
}

function bootstrap(listener: Json, clusters: readonly Json[]): Json {
  return { static_resources: { listeners: [listener], clusters } }
}

/** The client's end: takes redirected connections and asks the same address, port 15008, to connect to it. */
export function sourceConfig(files: EnvoyFiles, mark: number): Json {
  const tunnel = {
    name: 'tunnel',
    type: 'ORIGINAL_DST',
    lb_policy: 'CLUSTER_PROVIDED',
    cleanup_interval: '3600s',
    original_dst_lb_config: { upstream_port_override: HBONE_PORT },
    // Its defaults of 1,024 would be limits of the bench, not of Envoy.
    circuit_breakers: { thresholds: [{ max_connections: 100_000, max_requests: 100_000 }] },
    upstream_bind_config: {
      source_address: { address: '0.0.0.0', port_value: 0 },
      // Without the mark its own connections would be redirected to itself.
      socket_options: [{ level: SOL_SOCKET, name: SO_MARK, int_value: mark, state: 'STATE_PREBIND' }],
    },
    typed_extension_protocol_options: {
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': `${TYPE}.upstreams.http.v3.HttpProtocolOptions`,
        explicit_http_config: { http2_protocol_options: HTTP2_OPTIONS },
      },
    },
    transport_socket: {
      name: 'tls',
      typed_config: {
        '@type': `${TYPE}.transport_sockets.tls.v3.UpstreamTlsContext`,
        common_tls_context: tlsContext(files),
      },
    },
  }
  const listener = {
    name: 'outbound',
    address: address('0.0.0.0', OUTBOUND_PORT),
    listener_filters: [
      {
        name: 'original_dst',
        typed_config: { '@type': `${TYPE}.filters.listener.original_dst.v3.OriginalDst` },
      },
    ],
    filter_chains: [
      {
        filters: [
          {
            name: 'tcp_proxy',
            typed_config: {
              '@type': `${TYPE}.filters.network.tcp_proxy.v3.TcpProxy`,
              stat_prefix: 'outbound',
              cluster: 'tunnel',
              idle_timeout: '0s',
              tunneling_config: { hostname: '%DOWNSTREAM_LOCAL_ADDRESS%' },
            },
          },
        ],
      },
    ],
  }
  return bootstrap(listener, [tunnel])
}

function connectManager(): Json {
  const routes = [WEB_PORT, BULK_PORT].map((port) => ({
    name: `port-${port}`,
    domains: [`*:${port}`],
    routes: [
      {
        match: { connect_matcher: {} },
        route: {
          cluster: `port-${port}`,
          timeout: '0s',
          idle_timeout: '0s',
          upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
        },
      },
    ],
  }))
  return {
    '@type': `${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'inbound',
    codec_type: 'HTTP2',
    stream_idle_timeout: '0s',
    http2_protocol_options: { ...HTTP2_OPTIONS, allow_connect: true },
    upgrade_configs: [{ upgrade_type: 'CONNECT' }],
    route_config: { name: 'inbound', virtual_hosts: routes },
    http_filters: [{ name: 'router', typed_config: { '@type': `${TYPE}.filters.http.router.v3.Router` } }],
  }
}

/** The server's end: terminates the CONNECT of a peer with a certificate and dials the server. */
export function destinationConfig(files: EnvoyFiles): Json {
  const clusters = [WEB_PORT, BULK_PORT].map((port) => ({
    name: `port-${port}`,
    type: 'STATIC',
    load_assignment: {
      cluster_name: `port-${port}`,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(SERVER_IP, port) } }] }],
    },
    // Its default of 1,024 connections would be a limit of the bench, not of Envoy.
    circuit_breakers: { thresholds: [{ max_connections: 100_000, max_requests: 100_000 }] },
  }))
  const listener = {
    name: 'inbound',
    address: address('0.0.0.0', HBONE_PORT),
    filter_chains: [
      {
        filters: [{ name: 'http', typed_config: connectManager() }],
        transport_socket: {
          name: 'tls',
          typed_config: {
            '@type': `${TYPE}.transport_sockets.tls.v3.DownstreamTlsContext`,
            require_client_certificate: true,
            common_tls_context: tlsContext(files),
          },
        },
      },
    ],
  }
  return bootstrap(listener, clusters)
}
