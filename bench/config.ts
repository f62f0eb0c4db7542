// SPDX-License-Identifier: Apache-2.0
// What the benches take from the environment; everything else is a flag of main.ts.

/** Read once at the start. Envoy is found by scripts/envoy.ts (ENVOY_BIN, or installed once). */
export interface BenchConfig {
  /** Istio's ztunnel; '' when ZTUNNEL_BIN names none. */
  readonly ztunnelBinary: string
  /** PATH of everything that is started: wrk and nginx lie in places of their own. */
  readonly path: string
}

export function readBenchConfig(environment = process.env): BenchConfig {
  return {
    ztunnelBinary: environment.ZTUNNEL_BIN ?? '',
    path: `${environment.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`,
  }
}
