// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal } from '../../../../mesh/errors/refusal.ts'
import { MessageBuilder, parseAttributes } from '../../../../mesh/reactor/netlink/message.ts'
import { readExpression, writeExpression } from '../../../../mesh/reactor/netlink/nf-expression-codec.ts'
import * as nf from '../../../../mesh/reactor/netlink/nf-expressions.ts'

function encode(expression: nf.Expression): Buffer {
  const builder = new MessageBuilder().begin(0, 0, 1)
  writeExpression(builder, expression)
  return Buffer.from(builder.end().bytes.subarray(16 + 4))
}
function decode(bytes: Buffer) {
  const attributes = parseAttributes(bytes)
  if (isRefusal(attributes)) throw new Error(attributes.detail)
  return readExpression(attributes)
}

t.test('a comparison has the bytes that nft sends', async (t) => {
  t.equal(
    encode({ kind: 'compare', operator: 'neq', value: '3aa0' }).toString('hex'),
    '08000100636d7000' + // name "cmp"
      '20000280' + // data
      '0800010000000001' + // register 1
      '0800020000000001' + // not equal
      '0c000380' + // value
      '060001003aa00000',
  )
})

t.test('a jump has the bytes that nft sends', async (t) => {
  t.equal(
    encode({ kind: 'verdict', verdict: 'jump', chain: 'ab' }).toString('hex'),
    `0e000100${Buffer.from('immediate\0').toString('hex')}0000` +
      '24000280' +
      '0800010000000000' + // the verdict register
      '18000280' +
      '14000280' +
      '08000100fffffffd' +
      '0700020061620000',
  )
})

t.test('every expression is read as it was written', async (t) => {
  const all: nf.Expression[] = [
    ...nf.matchIp('source', '10.0.0.0/8'),
    ...nf.matchIp('destination', 'fd00::1', true),
    ...nf.matchPort('udp', 'destination', 53),
    ...nf.matchInterface('in', 'eth0'),
    ...nf.matchInterface('out', 'lo'),
    ...nf.matchMark(1, 0xf),
    ...nf.setMark(7),
    ...nf.restoreMark(),
    ...nf.setConnectionMark(1, 0xf),
    ...nf.setConnectionZone(1),
    ...nf.setConnectionZone(1, 'original'),
    ...nf.redirectTo(1),
    ...nf.matchIpSet('destination', 4, 'four'),
    ...nf.matchIpSet('source', 6, 'six'),
    ...nf.matchSocketUser(1000),
    ...nf.sourceNatTo('169.254.7.127'),
    ...nf.sourceNatTo('fd00::1'),
    ...nf.matchTcpOpening(),
    ...nf.limitTo(50, 100),
    ...nf.logTo(15_008),
    ...nf.resetTcp(),
    ...nf.count(),
    ...nf.decide('accept'),
    ...nf.decide('drop'),
    ...nf.decide('return'),
    ...nf.jumpTo('chain'),
  ]
  for (const expression of all) t.same(decode(encode(expression)).expression, expression)
})

t.test('counters come beside the expression', async (t) => {
  const builder = new MessageBuilder().begin(0, 0, 1).text(1, 'counter')
  builder.nest(2, (data) =>
    data
      .attribute(1, Buffer.from('0000000100000000', 'hex'))
      .attribute(2, Buffer.from('0000000000000003', 'hex')),
  )
  t.same(decode(builder.end().bytes.subarray(16)), {
    expression: { kind: 'counter' },
    counters: { packets: 3, bytes: 2 ** 32 },
  })
})

t.test('what is not ours is unknown, and never mistaken for ours', async (t) => {
  const foreign: [string, (data: MessageBuilder) => void][] = [
    ['log', () => undefined],
    ['meta', (data) => data.u32be(2, 99).u32be(1, 1)],
    ['cmp', (data) => data.u32be(2, 5)],
    ['bitwise', (data) => data.u32be(6, 1)],
    ['payload', (data) => data.u32be(2, 1).u32be(5, 1)],
    ['immediate', (data) => data.u32be(1, 0)],
    ['redir', () => undefined],
    ['lookup', (data) => data.text(1, 's').u32be(5, 1)],
    ['nat', (data) => data.u32be(1, 1).u32be(3, 1)],
  ]
  for (const [name, write] of foreign) {
    const bytes = new MessageBuilder().begin(0, 0, 1).text(1, name).nest(2, write).end().bytes
    t.same(decode(bytes.subarray(16)).expression, { kind: 'unknown', name }, name)
  }
})
