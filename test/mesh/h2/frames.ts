// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  readUint24,
  readUint31,
  readUint32,
  writeFrameHeader,
  writeGoaway,
  writePing,
  writeRstStream,
  writeSettings,
  writeSettingsAck,
  writeWindowUpdate,
} from '../../../mesh/h2/frames.ts'
import { H2_LIMITS } from '../../../mesh/h2/limits.ts'

t.test('frames are written as RFC 9113 draws them', async (t) => {
  const bytes = Buffer.alloc(64)
  const cases: Array<[name: string, end: number, hex: string]> = []
  const add = (name: string, write: (at: number) => number, hex: string) => {
    bytes.fill(0)
    const end = write(1)
    cases.push([name, end, hex])
    t.equal(bytes.toString('hex', 1, end), hex.replaceAll(' ', ''), name)
  }
  add('header', (at) => writeFrameHeader(bytes, at, 0x012345, 1, 5, 0x7ffffffd), '012345 01 05 7ffffffd')
  add(
    'settings',
    (at) => writeSettings(bytes, at, [4, 65535, 3, 0xffff_ffff]),
    '00000c04000000000000040000ffff0003ffffffff',
  )
  add('settings ack', (at) => writeSettingsAck(bytes, at), '000000040100000000')
  add('window update', (at) => writeWindowUpdate(bytes, at, 3, 0x7fffffff), '000004 08 00 00000003 7fffffff')
  add('reset', (at) => writeRstStream(bytes, at, 5, 8), '000004 03 00 00000005 00000008')
  add(
    'ping',
    (at) => writePing(bytes, at, true, 0x3b7cdb7a, 0x0b8716b4),
    '000008 06 01 00000000 3b7cdb7a0b8716b4',
  )
  add('goaway', (at) => writeGoaway(bytes, at, 7, 11, 'no'), '00000a 07 00 00000000 00000007 0000000b 6e6f')
  t.equal(cases.length, 7)
})

t.test('integers are read unsigned, and the reserved bit is dropped', async (t) => {
  const bytes = Buffer.from('ffffffff', 'hex')
  t.equal(readUint24(bytes, 0), 0xffffff)
  t.equal(readUint31(bytes, 0), 0x7fffffff)
  t.equal(readUint32(bytes, 0), 0xffffffff)
  t.equal(readUint32(Buffer.from('80000001', 'hex'), 0), 0x80000001)
  t.equal(readUint31(Buffer.from('80000001', 'hex'), 0), 1)
  t.equal(readUint32(Buffer.from('00000001', 'hex'), 0), 1)
})

t.test('every limit has a value, a unit and a reason', async (t) => {
  for (const [name, limit] of Object.entries(H2_LIMITS)) {
    t.ok(limit.value > 0 && Number.isInteger(limit.value), name)
    t.ok(limit.meaning.length > 20, name)
  }
})
