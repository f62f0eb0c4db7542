// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  parseVirtualInterfaces,
  readRedirectAnnotations,
} from '../../../../ztunnel/supervisor/enroll/pod-redirect.ts'

t.test('a pod says by annotations how it is redirected', async (t) => {
  for (const [annotations, expected] of [
    [{}, null],
    [{ 'ambient.istio.io/dns-capture': 'false' }, { isDnsCaptured: false }],
    [{ 'ambient.istio.io/dns-capture': 'true' }, { isDnsCaptured: true }],
    [{ 'ambient.istio.io/dns-capture': 'no' }, null],
    [{ 'ambient.istio.io/bypass-inbound-capture': 'true' }, { isInboundBypassed: true }],
    [{ 'ambient.istio.io/bypass-inbound-capture': 'false' }, null],
    [{ 'istio.io/reroute-virtual-interfaces': 'vm0, vm1,vm0' }, { virtualInterfaces: ['vm0', 'vm1'] }],
    [{ 'istio.io/reroute-virtual-interfaces': '' }, null],
  ] as const)
    t.same(readRedirectAnnotations(annotations), expected, JSON.stringify(annotations))
})

t.test('whatever is written there, only names that an interface can have come out', async (t) => {
  t.same(parseVirtualInterfaces('a/b,averyveryverylongname,é,ok0, ,x y'), ['ok0'])
  t.equal(parseVirtualInterfaces(Array.from({ length: 99 }, (_, index) => `vm${index}`).join(',')).length, 16)
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.anything()), (value) => {
      const names = parseVirtualInterfaces(value)
      return names.length <= 16 && names.every((name) => Buffer.byteLength(name) <= 15 && name !== '')
    }),
  )
})
