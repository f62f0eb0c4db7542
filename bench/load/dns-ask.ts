// SPDX-License-Identifier: Apache-2.0
// Asks a resolver for one name by UDP, over and over: at a rate, each time from a port of its own as applications do, or
// (rate 0) with `window` questions under way on one port, as fast as answers come. Prints DnsAnswers.
import { performance } from 'node:perf_hooks'
import { HEADROOM_BYTES } from '../../mesh/reactor/byte-stream.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { type Datagram, openDatagramSocket, UdpSocket } from '../../mesh/reactor/udp-socket.ts'
import { Histogram } from '../measure/histogram.ts'
import { nextRoundMs, type Turn, timeInTurns } from './turn.ts'

/** The argument of this program, as JSON. */
export interface DnsAskOptions {
  readonly ip: string
  readonly name: string
  readonly seconds: number
  /** Asked before that without being counted: a program that just started is not yet compiled. */
  readonly warmUpSeconds: number
  /** Questions per second; 0: as many as possible. */
  readonly rate: number
  readonly window: number
  /** At a rate: when it asks. All seconds are of its own turns. */
  readonly turn: Turn
}
/** What it prints. */
export interface DnsAnswers {
  readonly answers: number
  /** Questions without an answer, or with one that is no NOERROR. */
  readonly failures: number
  readonly perSecond: number
  readonly p50Micros: number
  readonly p99Micros: number
}

const ANSWER_TIMEOUT_MS = 1000
const options = JSON.parse(process.argv[2] ?? '') as DnsAskOptions // as: our own bench calls
const resolver = { ip: options.ip, port: 53 }
const reactor = new Reactor()
const histogram = new Histogram()
const block = allocateBlock(600)
const end = writeQuestion()
let failures = 0
let sent = 0
/** What was asked before is not counted. */
let countsFromMs = 0

function writeQuestion(): number {
  const { bytes } = block
  let at = HEADROOM_BYTES
  bytes.fill(0)
  bytes.writeUInt16BE(0x0100, at + 2)
  bytes.writeUInt16BE(1, at + 4)
  at += 12
  for (const label of options.name.split('.')) {
    bytes[at] = label.length
    at += 1 + bytes.write(label, at + 1, 'latin1')
  }
  bytes.writeUInt32BE(0x0001_0001, at + 1)
  return at + 5
}

function send(socket: UdpSocket): number {
  const id = sent++ & 0xffff
  block.bytes.writeUInt16BE(id, HEADROOM_BYTES)
  const startedMs = performance.now()
  if (socket.send(block, HEADROOM_BYTES, end, resolver) !== 'sent') failures++
  return startedMs
}

function record(datagram: Datagram, startedMs: number): void {
  const rcode = (datagram.block.bytes[datagram.start + 3] ?? 0) & 15
  if (rcode !== 0) failures++
  else if (startedMs >= countsFromMs) histogram.record((performance.now() - startedMs) * 1000)
}

/** One question from a port of its own. */
function askOnce(): void {
  let startedMs = 0
  let isDone = false
  const finish = (): void => {
    isDone = true
    deadline.cancel()
    socket.close()
  }
  const socket: UdpSocket = new UdpSocket(reactor, openDatagramSocket('0.0.0.0', 0), {
    onDatagram(datagram) {
      if (isDone) return
      record(datagram, startedMs)
      finish()
    },
    onUndelivered() {},
  })
  const deadline = reactor.startTimer(ANSWER_TIMEOUT_MS, () => {
    failures++
    finish()
  })
  startedMs = send(socket)
}

function askAtRate(): void {
  const { turn, rate, warmUpSeconds, seconds } = options
  const beginMs = nextRoundMs(turn)
  countsFromMs = beginMs + timeInTurns(warmUpSeconds * 1000, turn)
  for (let index = 0; index < (warmUpSeconds + seconds) * rate; ) {
    const waitMs = beginMs + timeInTurns((index * 1000) / rate, turn) - performance.now()
    if (waitMs > 0) {
      reactor.runTurn(Math.ceil(waitMs))
      continue
    }
    askOnce()
    index++
  }
  for (const lastMs = performance.now() + ANSWER_TIMEOUT_MS + 100; performance.now() < lastMs; )
    reactor.runTurn(10)
}

function askWithoutPause(untilMs: number): void {
  const started = new Float64Array(0x10000)
  const ask = (): void => {
    const id = sent & 0xffff
    started[id] = send(socket)
  }
  let lastMs = performance.now()
  const socket: UdpSocket = new UdpSocket(reactor, openDatagramSocket('0.0.0.0', 0), {
    onDatagram(datagram) {
      record(datagram, started[datagram.block.bytes.readUInt16BE(datagram.start)] ?? 0)
      lastMs = performance.now()
      ask()
    },
    onUndelivered() {},
  })
  for (let index = 0; index < options.window; index++) ask()
  while (performance.now() < untilMs) {
    reactor.runTurn(10)
    if (performance.now() - lastMs < ANSWER_TIMEOUT_MS) continue
    failures += options.window // lost ones come back no more
    for (let index = 0; index < options.window; index++) ask()
    lastMs = performance.now()
  }
}

if (options.rate > 0) askAtRate()
else {
  countsFromMs = performance.now() + options.warmUpSeconds * 1000
  askWithoutPause(countsFromMs + options.seconds * 1000)
}
console.log(
  JSON.stringify({
    answers: histogram.count,
    failures,
    perSecond: histogram.count / options.seconds,
    p50Micros: histogram.quantile(0.5),
    p99Micros: histogram.quantile(0.99),
  } satisfies DnsAnswers),
)
