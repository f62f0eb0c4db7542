// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { FrameReader, type FrameSink } from '../../../mesh/h2/frame-reader.ts'
import { CLIENT_PREFACE } from '../../../mesh/h2/frames.ts'

/** Writes down everything; pieces of one DATA frame are joined. */
class Transcript implements FrameSink {
  readonly lines: string[] = []
  reader: FrameReader | null = null
  stopAt = ''
  #data = ''
  #say(line: string): void {
    this.lines.push(line)
    if (line === this.stopAt) this.reader?.stop()
  }
  onFrameStart(type: number, flags: number, streamId: number, length: number): void {
    this.#say(`start ${type} ${flags} ${streamId} ${length}`)
  }
  onDataPiece(block: { bytes: Buffer }, start: number, end: number): void {
    this.#data += block.bytes.toString('hex', start, end)
  }
  onDataPadding(bytes: number): void {
    this.#say(`padding ${bytes}`)
  }
  onDataEnd(flags: number): void {
    this.#say(`data ${this.#data} ${flags}`)
    this.#data = ''
  }
  onFrame(type: number, _flags: number, _id: number, bytes: Buffer, start: number, end: number): void {
    this.#say(`frame ${type} ${bytes.toString('hex', start, end)}`)
  }
  onFramingError(code: string): void {
    this.#say(code)
  }
}

function read(hex: string, pieceBytes: number, hasPreface = false, stopAt = ''): string[] {
  const sink = new Transcript()
  sink.stopAt = stopAt
  const reader = new FrameReader(sink, hasPreface, 1_000, 100)
  sink.reader = reader
  const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex')
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = Buffer.from(bytes.subarray(at, at + pieceBytes))
    reader.read({ bytes: piece, address: 0 }, 0, piece.length)
    piece.fill(0xdd)
  }
  return sink.lines
}

t.test('frames are the same however the bytes are cut', async (t) => {
  const hex =
    `${CLIENT_PREFACE.toString('hex')} 000000 04 00 00000000  000003 00 01 00000005 616263` +
    '000006 00 08 00000005 02 616263 0000  000001 00 09 00000005 00  000000 00 01 00000007' +
    '000004 08 00 80000000 00000001  000003 63 00 00000001 aabbcc  000000 63 00 00000001 000008 06 01 00000000 0102030405060708'
  const whole = read(hex, 10_000, true)
  t.same(whole, [
    ...[
      'start 4 0 0 0',
      'frame 4 ',
      'start 0 1 5 3',
      'data 616263 1',
      'start 0 8 5 6',
      'padding 3',
      'data 616263 8',
    ],
    ...[
      'start 0 9 5 1',
      'padding 1',
      'data  9',
      'start 0 1 7 0',
      'data  1',
      'start 8 0 0 4',
      'frame 8 00000001',
    ],
    ...['start 99 0 1 3', 'start 99 0 1 0', 'start 6 1 0 8', 'frame 6 0102030405060708'],
  ])
  for (let pieceBytes = 1; pieceBytes < 40; pieceBytes++)
    t.same(read(hex, pieceBytes, true), whole, `${pieceBytes}`)
})

t.test('nothing follows a stop, wherever it comes', async (t) => {
  const hex = '000003 00 09 00000005 00 6162 000008 06 01 00000000 0102030405060708 000000 04 00 00000000'
  for (const stopAt of [
    'start 0 9 5 3',
    'padding 1',
    'data 6162 9',
    'start 6 1 0 8',
    'frame 6 0102030405060708',
  ]) {
    for (const pieceBytes of [1, 1000]) t.equal(read(hex, pieceBytes, false, stopAt).at(-1), stopAt, stopAt)
  }
})

t.test('a wrong preface is noticed at its first wrong byte', async (t) => {
  t.same(read('505249202a20485454502f312e', 1, true), ['H2_PREFACE'])
  t.same(read('16', 1, true), ['H2_PREFACE'])
})

t.test('lengths are checked before a byte of payload is kept', async (t) => {
  t.same(read('0003e9 00 00 00000001', 100), ['H2_FRAME_SIZE'])
  t.same(read('00016b 01 00 00000001', 100), ['H2_HEADERS_TOO_LARGE'])
  t.same(read('000065 09 00 00000001', 100), ['H2_HEADERS_TOO_LARGE'])
  t.same(read('000186 04 00 00000000', 100), ['H2_FRAME_SIZE'])
})
