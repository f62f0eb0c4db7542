// SPDX-License-Identifier: Apache-2.0
// A precise one-shot timer for load generators: the reactor's own wheel ticks every 10 ms, epoll every 1 ms, which
// is as long as the latencies that are measured. Not for the product.
import { EPOLLIN } from '../../mesh/reactor/ffi/constants.ts'
import { read } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock, bindFunction, openLibrary } from '../../mesh/reactor/ffi/native.ts'
import type { Reactor, ReadinessHandler } from '../../mesh/reactor/reactor.ts'
import { systemError } from '../../mesh/reactor/socket-options.ts'

type N = number
const libc = openLibrary('libc.so.6')
const timerfdCreate = bindFunction<(clock: N, flags: N) => N>(libc, 'int timerfd_create(int, int)')
const timerfdSetTime = bindFunction<(fd: N, flags: N, value: N, old: N) => N>(
  libc,
  'int timerfd_settime(int, int, uintptr_t, uintptr_t)',
)
const CLOCK_MONOTONIC = 1
const NONBLOCK_CLOEXEC = 0x80800
const ITIMERSPEC_BYTES = 32
/** Zero would disarm the timer. */
const MIN_DELAY_NS = 1000

/** Fires once per arm(). It lives as long as its process. */
export class PreciseTimer implements ReadinessHandler {
  readonly #fd: number
  readonly #onFire: () => void
  readonly #spec = allocateBlock(ITIMERSPEC_BYTES)
  readonly #expirations = allocateBlock(8)

  constructor(reactor: Reactor, onFire: () => void) {
    this.#onFire = onFire
    this.#spec.bytes.fill(0)
    this.#fd = timerfdCreate(CLOCK_MONOTONIC, NONBLOCK_CLOEXEC)
    if (this.#fd < 0) throw systemError('timerfd_create')
    reactor.watch(this.#fd, EPOLLIN, this)
  }

  /** Fires in `delayMs`; an earlier setting is replaced. */
  arm(delayMs: number): void {
    const nanos = Math.max(MIN_DELAY_NS, Math.round(delayMs * 1_000_000))
    this.#spec.bytes.writeUInt32LE(Math.floor(nanos / 1_000_000_000), 16)
    this.#spec.bytes.writeUInt32LE(nanos % 1_000_000_000, 24)
    if (timerfdSetTime(this.#fd, 0, this.#spec.address, 0) !== 0) throw systemError('timerfd_settime')
  }

  onReady(): void {
    read(this.#fd, this.#expirations.address, 8)
    this.#onFire()
  }
}
