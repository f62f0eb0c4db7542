// SPDX-License-Identifier: Apache-2.0
// Envoy's bootstrap as a waypoint, as Istio's has it: one listener ends the tunnels, an internal one for each service
// carries the requests inside. Pure. SPEC wire-protocols §9.3.
import {
  address,
  type EnvoyFiles,
  HTTP2_OPTIONS,
  type Json,
  TYPE,
  tlsContext,
} from '../subjects/envoy-config.ts'
import { CASES, type Case, prefixOf, serviceIp } from './cases.ts'
import { ISSUER } from './token.ts'
import { GRPC_PORT, IPS, WEB_PORT } from './waypoint-objects.ts'

const HBONE_PORT = 15_008
/** Its default of 1,024 connections would be a limit of the bench, not of Envoy. */
const NO_LIMIT = { thresholds: [{ max_connections: 100_000, max_requests: 100_000 }] }
const ROUTER = { name: 'router', typed_config: { '@type': `${TYPE}.filters.http.router.v3.Router` } }

const internalName = ({ key }: Case): string => `main-internal-${key}`

/** What a secured case asks of a request: a token, remembered once it was verified, and its issuer, method and path. */
function securityFilters(jwks: string): Json[] {
  const jwt = `${TYPE}.filters.http.jwt_authn.v3.JwtAuthentication`
  const provider = {
    ...{ issuer: ISSUER, forward: true, payload_in_metadata: 'payload' },
    local_jwks: { inline_string: jwks },
    jwt_cache_config: { jwt_cache_size: 100 },
  }
  const rbac = `${TYPE}.filters.http.rbac.v3.RBAC`
  const isGet = { header: { name: ':method', string_match: { exact: 'GET' } } }
  const isRoute = { url_path: { path: { prefix: '/r' } } }
  const hasIssuer = {
    metadata: {
      filter: 'envoy.filters.http.jwt_authn',
      path: [{ key: 'payload' }, { key: 'iss' }],
      value: { string_match: { exact: ISSUER } },
    },
  }
  const policy = { permissions: [{ and_rules: { rules: [isGet, isRoute] } }], principals: [hasIssuer] }
  return [
    {
      name: 'jwt',
      typed_config: {
        '@type': jwt,
        providers: { bench: provider },
        rules: [{ match: { prefix: '/' }, requires: { provider_name: 'bench' } }],
      },
    },
    {
      name: 'rbac',
      typed_config: { '@type': rbac, rules: { action: 'ALLOW', policies: { bench: policy } } },
    },
  ]
}

function httpManager(settings: Json): Json {
  const type = `${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager`
  return {
    name: 'http',
    typed_config: { '@type': type, http_filters: [ROUTER], ...settings },
  }
}

/** Ends the tunnels of peers with a certificate; what they ask for is a service's address. */
function connectTerminate(files: EnvoyFiles): Json {
  const hosts = CASES.map((of) => ({
    name: internalName(of),
    domains: [`${serviceIp('envoy', of)}:80`],
    routes: [
      {
        match: { connect_matcher: {} },
        route: {
          cluster: internalName(of),
          timeout: '0s',
          idle_timeout: '0s',
          upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
        },
      },
    ],
  }))
  const manager = httpManager({
    stat_prefix: 'connect_terminate',
    codec_type: 'HTTP2',
    stream_idle_timeout: '0s',
    http2_protocol_options: { ...HTTP2_OPTIONS, allow_connect: true },
    upgrade_configs: [{ upgrade_type: 'CONNECT' }],
    route_config: { name: 'connect', virtual_hosts: hosts },
  })
  const transport = {
    name: 'tls',
    typed_config: {
      '@type': `${TYPE}.transport_sockets.tls.v3.DownstreamTlsContext`,
      require_client_certificate: true,
      common_tls_context: tlsContext(files),
    },
  }
  return {
    name: 'connect_terminate',
    address: address('0.0.0.0', HBONE_PORT),
    filter_chains: [{ filters: [manager], transport_socket: transport }],
  }
}

/** Carries the requests of a service: forwarded headers, a request id, a route, no log. */
function mainInternal(of: Case, jwks: string): Json {
  const isGrpc = of.protocol === 'grpc'
  const routes = Array.from({ length: of.rules }, (_, rule) => ({
    match: { prefix: prefixOf(rule) },
    route: { cluster: isGrpc ? 'grpc-server' : 'server', timeout: '0s' },
  }))
  const manager = httpManager({
    stat_prefix: internalName(of),
    codec_type: isGrpc ? 'HTTP2' : 'HTTP1',
    ...(isGrpc && { http2_protocol_options: HTTP2_OPTIONS }),
    ...(of.isSecured && { http_filters: [...securityFilters(jwks), ROUTER] }),
    use_remote_address: true,
    route_config: {
      name: 'routes',
      virtual_hosts: [{ name: 'service', domains: ['*'], routes }],
    },
  })
  return { name: internalName(of), internal_listener: {}, filter_chains: [{ filters: [manager] }] }
}

function internalCluster(of: Case): Json {
  const name = internalName(of)
  const endpoint = { address: { envoy_internal_address: { server_listener_name: name } } }
  return {
    ...{ name, type: 'STATIC', circuit_breakers: NO_LIMIT },
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
    transport_socket: {
      name: 'internal',
      typed_config: {
        '@type': `${TYPE}.transport_sockets.internal_upstream.v3.InternalUpstreamTransport`,
        transport_socket: {
          name: 'raw',
          typed_config: { '@type': `${TYPE}.transport_sockets.raw_buffer.v3.RawBuffer` },
        },
      },
    },
  }
}

function server(name: string, port: number, options: Json): Json {
  const endpoint = { address: address(IPS.server, port) }
  return {
    ...{ name, type: 'STATIC', circuit_breakers: NO_LIMIT },
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
    ...options,
  }
}

/** The whole bootstrap. `jwks`: keys of the token's issuer. */
export function waypointConfig(files: EnvoyFiles, jwks: string): Json {
  const http2 = {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': `${TYPE}.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: { http2_protocol_options: HTTP2_OPTIONS },
    },
  }
  const servers = [
    server('server', WEB_PORT, {}),
    server('grpc-server', GRPC_PORT, { typed_extension_protocol_options: http2 }),
  ]
  return {
    bootstrap_extensions: [
      {
        name: 'internal',
        typed_config: { '@type': `${TYPE}.bootstrap.internal_listener.v3.InternalListener` },
      },
    ],
    static_resources: {
      listeners: [connectTerminate(files), ...CASES.map((of) => mainInternal(of, jwks))],
      clusters: [...servers, ...CASES.map(internalCluster)],
    },
  }
}
