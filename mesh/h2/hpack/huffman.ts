// SPDX-License-Identifier: Apache-2.0
// HPACK's Huffman code (RFC 7541 §5.2, Appendix B). The code is canonical, so the table of lengths says all.
// Decoding walks a state machine four bits at a time: one table look-up per nibble, no loops over bits.

/** Code length of symbols 0–255 and of EOS, in bits. */
const LENGTHS = [
  [13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28],
  [28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28],
  [6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6],
  [5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10],
  [13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
  [7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  [15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5],
  [6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28],
  [20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23],
  [24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24],
  [22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23],
  [21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23],
  [26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25],
  [19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27],
  [20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23],
  [26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26],
  [30],
].flat()
const EOS = 256
const MAX_CODE_BITS = 30
const STATES = 256 // inner nodes of a binary tree with 257 leaves

/** Codes as numbers of LENGTHS[symbol] bits: canonical order is by length, then by symbol. */
function assignCodes(): Uint32Array {
  const codes = new Uint32Array(LENGTHS.length)
  let code = 0
  for (let length = 1; length <= MAX_CODE_BITS; length++) {
    for (let symbol = 0; symbol < LENGTHS.length; symbol++) {
      if (LENGTHS[symbol] === length) codes[symbol] = code++
    }
    code *= 2
  }
  return codes
}

const CODES = assignCodes()
const CODE_BITS = Uint8Array.from(LENGTHS)

// An entry of the decoder: next state (8 bits) | symbol << 8 | HAS_SYMBOL | FAILS. The shortest code has five
// bits, so a nibble completes at most one symbol.
const HAS_SYMBOL = 0x1_0000
const FAILS = 0x2_0000

/** Children of inner node n at 2n and 2n + 1: an inner node, or −1 − symbol. */
function buildTree(): Int16Array {
  const tree = new Int16Array(STATES * 2)
  let nodes = 1
  for (let symbol = 0; symbol < LENGTHS.length; symbol++) {
    let node = 0
    for (let bit = (CODE_BITS[symbol] ?? 0) - 1; bit >= 0; bit--) {
      const child = node * 2 + (((CODES[symbol] ?? 0) >>> bit) & 1)
      if (bit === 0) tree[child] = -1 - symbol
      else {
        if (tree[child] === 0) tree[child] = nodes++
        node = tree[child] ?? 0
      }
    }
  }
  return tree
}

function buildTransitions(tree: Int16Array): Uint32Array {
  const transitions = new Uint32Array(STATES * 16)
  for (let state = 0; state < STATES; state++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = state
      let entry = 0
      for (let bit = 3; bit >= 0; bit--) {
        const child = tree[node * 2 + ((nibble >>> bit) & 1)] ?? 0
        node = Math.max(child, 0)
        // SPEC RFC7541 §5.2: a string that contains the EOS symbol is an error.
        if (child === -1 - EOS) entry |= FAILS
        else if (child < 0) entry |= HAS_SYMBOL | ((-1 - child) << 8)
      }
      transitions[state * 16 + nibble] = entry | node
    }
  }
  return transitions
}

// SPEC RFC7541 §5.2: padding is at most seven bits, all of them ones. Those are the states on the path of
// ones from the root, up to depth seven.
function findFinalStates(tree: Int16Array): Uint8Array {
  const isFinal = new Uint8Array(STATES)
  for (let node = 0, depth = 0; depth <= 7; depth++) {
    isFinal[node] = 1
    node = tree[node * 2 + 1] ?? 0
  }
  return isFinal
}

const TREE = buildTree()
const TRANSITIONS = buildTransitions(TREE)
const IS_FINAL = findFinalStates(TREE)

/** Largest number of symbols in `bytes` coded bytes: the shortest code has five bits. */
export function maxDecodedBytes(bytes: number): number {
  return Math.floor((bytes * 8) / 5)
}

/**
 * Decodes `[start, end)` into `target`, which must hold maxDecodedBytes. Returns the number of bytes written,
 * or −1 when the code is damaged.
 */
export function decodeHuffman(source: Buffer, start: number, end: number, target: Buffer): number {
  let state = 0
  let written = 0
  for (let at = start; at < end; at++) {
    const byte = source[at] ?? 0
    let entry = TRANSITIONS[state * 16 + (byte >>> 4)] ?? FAILS
    if (entry & HAS_SYMBOL) target[written++] = (entry >>> 8) & 0xff
    if (entry & FAILS) return -1
    entry = TRANSITIONS[(entry & 0xff) * 16 + (byte & 0xf)] ?? FAILS
    if (entry & HAS_SYMBOL) target[written++] = (entry >>> 8) & 0xff
    if (entry & FAILS) return -1
    state = entry & 0xff
  }
  return IS_FINAL[state] === 1 ? written : -1
}

/** Bytes `text` (one byte per character) takes when coded. */
export function huffmanBytes(text: string): number {
  let bits = 0
  for (let i = 0; i < text.length; i++) bits += CODE_BITS[text.charCodeAt(i) & 0xff] ?? 0
  return (bits + 7) >>> 3
}

/** Codes `text` into `target` at `at`, which must have huffmanBytes of room; returns the position after it. */
export function encodeHuffman(text: string, target: Buffer, at: number): number {
  let pending = 0 // at most 7 + 8 bits wait here: codes are fed in pieces of at most 8 bits
  let pendingBits = 0
  let next = at
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i) & 0xff
    const code = CODES[symbol] ?? 0
    let left = CODE_BITS[symbol] ?? 0
    while (left > 0) {
      const take = Math.min(left, 8)
      left -= take
      pending = (pending << take) | ((code >>> left) & ((1 << take) - 1))
      pendingBits += take
      if (pendingBits >= 8) {
        pendingBits -= 8
        target[next++] = pending >>> pendingBits
        pending &= (1 << pendingBits) - 1
      }
    }
  }
  if (pendingBits > 0) target[next++] = (pending << (8 - pendingBits)) | (0xff >>> pendingBits)
  return next
}
