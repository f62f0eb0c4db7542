// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  decodeHuffman,
  encodeHuffman,
  huffmanBytes,
  maxDecodedBytes,
} from '../../../../mesh/h2/hpack/huffman.ts'

function encode(text: string): string {
  const target = Buffer.alloc(huffmanBytes(text))
  t.equal(encodeHuffman(text, target, 0), target.length)
  return target.toString('hex')
}
function decode(hex: string): string | null {
  const source = Buffer.from(hex, 'hex')
  const target = Buffer.alloc(maxDecodedBytes(source.length))
  const written = decodeHuffman(source, 0, source.length, target)
  return written < 0 ? null : target.toString('latin1', 0, written)
}

t.test('strings of RFC 7541 Appendix C are coded to the bit', async (t) => {
  const vectors: Array<[string, string]> = [
    ['www.example.com', 'f1e3c2e5f23a6ba0ab90f4ff'],
    ['no-cache', 'a8eb10649cbf'],
    ['custom-key', '25a849e95ba97d7f'],
    ['custom-value', '25a849e95bb8e8b4bf'],
    ['302', '6402'],
    ['private', 'aec3771a4b'],
    ['Mon, 21 Oct 2013 20:13:21 GMT', 'd07abe941054d444a8200595040b8166e082a62d1bff'],
    ['https://www.example.com', '9d29ad171863c78f0b97c8e9ae82ae43d3'],
    ['gzip', '9bd9ab'],
  ]
  for (const [text, hex] of vectors) {
    t.equal(encode(text), hex)
    t.equal(decode(hex), text)
  }
})

t.test('the rarest codes have the bits of Appendix B', async (t) => {
  // Each line: symbol, code, left-aligned and padded with ones.
  t.equal(encode('\x00'), 'ffc7') // 13 bits 1ff8
  t.equal(encode('\x0a'), 'fffffff3') // 30 bits 3ffffffc
  t.equal(encode('\x16'), 'fffffffb') // 30 bits 3ffffffe
  t.equal(encode('\xf9'), 'ffffffef') // 28 bits ffffffe
  t.equal(encode('\xff'), 'fffffbbf') // 26 bits 3ffffee
  t.equal(encode('\x7f'), 'ffffffcf') // 28 bits ffffffc
})

t.test('every byte survives the way there and back', async (t) => {
  const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('latin1')
  t.equal(decode(encode(all)), all)
  for (const symbol of all) t.equal(decode(encode(symbol.repeat(3))), symbol.repeat(3))
})

t.test('damaged codes are refused', async (t) => {
  const damaged = {
    'EOS in the string': 'ffffffff',
    'EOS after a symbol': '1fffffffff',
    'padding of eight ones': '1c64ff', // ends on a byte border, then a byte of ones
    'padding with a zero': '1e',
    'padding of zeros': '00'.slice(0, 2).replace('00', '18'),
  }
  for (const [name, hex] of Object.entries(damaged)) t.equal(decode(hex), null, name)
  t.equal(decode(''), '')
})
