// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { parseLocalConfig } from '../../mesh/model/local-config.ts'

const FILE = `workloads:
- {uid: u, name: front, namespace: shop, workloadIps: ["10.9.0.1"], protocol: HBONE, services: {"a/b": {80: 8080}},
   waypoint: {destination: a/b, hboneMtlsPort: 15008}, locality: {region: r, zone: z, subzone: s}, capacity: 2}
services:
- {name: s, namespace: shop, hostname: s.shop, vips: ["/10.96.0.10"], ports: {80: 8080},
   loadBalancer: {routingPreferences: [Network, Zone], mode: Failover, healthPolicy: OnlyHealthy}}
policies:
- {name: p, namespace: shop, scope: Namespace, action: Deny, dryRun: false,
   rules: [[[{namespaces: [!Presence []], principals: [!Exact "x", !Prefix "y"], sourceIps: [10.0.0.0/8]}]]]}
`

t.test('a damaged file is read or refused with places, and never throws', async (t) => {
  let refused = 0
  const piece = fc.oneof(
    fc.string({ maxLength: 4 }),
    fc.constantFrom(
      '*u',
      '&u ',
      '!Exact ',
      '- ',
      ': ',
      '{',
      '}',
      '[',
      ']',
      '\n',
      '~',
      '"',
      '<<: ',
      '? ',
      '|\n',
      '%',
    ),
  )
  fc.assert(
    fc.property(fc.nat(FILE.length), fc.nat(12), piece, (at, length, text) => {
      const result = parseLocalConfig(FILE.slice(0, at) + text + FILE.slice(at + length), { file: 'f' })
      if (result.kind === 'config') return true
      refused++
      return (
        result.findings.length > 0 && result.findings.every(({ line, column }) => line >= 1 && column >= 1)
      )
    }),
    { numRuns: 1500, seed: 20_260_101 },
  )
  t.ok(refused > 300, `${refused} refused`)
})

t.test('without its last line’s end the file still means the same', async (t) => {
  t.match(parseLocalConfig(FILE, { file: 'f' }), { kind: 'config', workloads: [{ uid: 'u' }] })
  t.same(parseLocalConfig(FILE.trimEnd(), { file: 'f' }), parseLocalConfig(FILE, { file: 'f' }))
})
