// SPDX-License-Identifier: Apache-2.0
// A record on its way through a ring, in short: the number of its pair, five numbers, the source address. Nearly all are of
// connections between two known workloads that went well; main, which writes no traffic, makes their text. Little-endian.

/** The pair's number: what an entry of kind `pair` has told under it last. */
export const PAIR_AT = 0
export const END_MS_AT = 4
export const BYTES_SENT_AT = 12
export const BYTES_RECEIVED_AT = 20
export const DURATION_MS_AT = 28
/** -1: it never could carry bytes. */
export const CONNECT_MS_AT = 36
export const SOURCE_PORT_AT = 44
/** To the end of the entry, in ASCII. */
export const SOURCE_IP_AT = 48
