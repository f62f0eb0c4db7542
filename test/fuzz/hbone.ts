// SPDX-License-Identifier: Apache-2.0
// Text a peer puts into a CONNECT: parsers never throw, agree with their writers, and cost a bounded time.
import fc from 'fast-check'
import t from 'tap'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { isFieldValue } from '../../mesh/h2/header-rules.ts'
import { formatAuthority, parseAuthority } from '../../mesh/hbone/authority.ts'
import { type Baggage, formatBaggage, parseBaggage, WORKLOAD_TYPES } from '../../mesh/hbone/baggage.ts'
import { formatForwarded, parseForwarded } from '../../mesh/hbone/forwarded.ts'
import { parseTraceparent } from '../../mesh/hbone/traceparent.ts'

const ip = fc.oneof(fc.ipV4(), fc.ipV6())
const port = fc.integer({ min: 1, max: 65_535 })
/** Strings of the characters parsers look at. */
const pieces = fc.constantFrom(
  '[',
  ']',
  ':',
  '.',
  ',',
  ';',
  '=',
  '"',
  '-',
  '1',
  '80',
  'a',
  'for',
  'host',
  'k8s.pod.name',
  ' ',
  '\0',
  'ä',
  '%',
)
const hostile = fc.oneof(
  fc.string({ maxLength: 400 }),
  fc.array(pieces, { maxLength: 60 }).map((all) => all.join('')),
)

t.test('an accepted authority has one canonical form, which is accepted again', async (t) => {
  fc.assert(
    fc.property(
      fc.oneof(
        hostile,
        fc.tuple(ip, port).map(([a, p]) => formatAuthority(a, p)),
        fc.tuple(fc.domain(), port).map(([d, p]) => `${d}:${p}`),
      ),
      (text) => {
        const target = parseAuthority(text)
        if (isRefusal(target)) return true
        const again = parseAuthority(formatAuthority(target.host, target.port))
        return (
          !isRefusal(again) &&
          again.host === target.host &&
          again.port === target.port &&
          again.isIp === target.isIp
        )
      },
    ),
    { numRuns: 2_000 },
  )
  fc.assert(
    fc.property(fc.ipV4(), port, (address, p) => {
      const target = parseAuthority(`${address}:${p}`)
      return !isRefusal(target) && target.host === address && target.port === p
    }),
  )
  t.pass()
})

t.test('baggage survives, and what is written is always a legal field value', async (t) => {
  const value = fc.option(fc.string({ maxLength: 60 }), { nil: undefined })
  const keys = [
    'clusterName',
    'namespace',
    'workloadName',
    'serviceName',
    'serviceVersion',
    'region',
    'zone',
  ] as const
  fc.assert(
    fc.property(
      fc.array(value, { minLength: 7, maxLength: 7 }),
      fc.constantFrom(...WORKLOAD_TYPES),
      (values, workloadType) => {
        const given: Record<string, string> = { workloadType }
        keys.forEach((key, i) => {
          const text = values[i]
          if (text !== undefined) given[key] = text
        })
        const text = formatBaggage(given as Baggage) // as: built from the keys above
        const read = parseBaggage(text)
        // Whatever is read is what was given; whatever was given and clean is read.
        return (
          isFieldValue(text) &&
          Object.entries(read).every(([key, found]) => given[key] === found) &&
          formatBaggage(read) === text
        )
      },
    ),
    { numRuns: 1_000 },
  )
  fc.assert(
    fc.property(hostile, (text) => Object.values(parseBaggage(text)).every((found) => found.length <= 400)),
  )
  t.pass()
})

t.test('forwarded survives and hostile text gives nothing invented', async (t) => {
  fc.assert(
    fc.property(fc.ipV4(), port, fc.option(fc.domain()), (address, p, host) => {
      const text = formatForwarded(address, p, host)
      const read = parseForwarded(text)
      return (
        isFieldValue(text) &&
        read.client?.ip === address &&
        read.client.port === p &&
        (host === null || read.host === host.toLowerCase())
      )
    }),
  )
  fc.assert(
    fc.property(hostile, (text) => {
      const { client, host } = parseForwarded(text)
      return (client === null || client.port > 0) && (host === null || /^[a-z0-9._-]+$/.test(host))
    }),
    { numRuns: 1_000 },
  )
  fc.assert(fc.property(hostile, (text) => parseTraceparent(text) === null))
  t.pass()
})
