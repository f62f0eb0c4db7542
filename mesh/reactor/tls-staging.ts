// SPDX-License-Identifier: Apache-2.0
// Outbound staging of TLS: a buffering BIO in front of the socket lets many records leave in one write(2). Buffers
// are shared by the sockets of a worker and kept by whoever used them last, so that idle tunnels hold none and busy
// ones do not swap. A buffer whose socket is blocked stays with its owner.

import type { Pointer } from './ffi/native.ts'
import * as o from './ffi/openssl.ts'
import type { Reactor } from './reactor.ts'

/** One write(2) of bulk data. */
const STAGING_BYTES = 262_144
/** Buffers per worker: 16 × 256 KiB. More busy tunnels than that take turns. */
const MAX_STAGING = 16

/** Whoever writes through a staging buffer. */
export interface StagingUser {
  /** True while unsent bytes are in the buffer: it cannot be taken away. */
  readonly isStagingBusy: boolean
  /** The buffer goes to somebody else: write to the plain socket from now on. */
  onStagingLost(): void
}

/** A buffering BIO on top of a socket BIO. */
export class Staging {
  readonly bio: Pointer
  user: StagingUser | null = null
  lastUse = 0

  constructor() {
    const buffer = o.newBio(o.BIO_f_buffer())
    o.BIO_int_ctrl(buffer, o.BIO_C_SET_BUFF_SIZE, STAGING_BYTES, 1)
    this.bio = o.BIO_push(buffer, o.newBio(o.BIO_s_socket()))
  }

  /** Frees both BIOs. No SSL may use them any more. */
  free(): void {
    const socket = o.BIO_pop(this.bio)
    o.freeBio(this.bio)
    o.freeBio(socket)
  }

  /** Points the buffer at a socket it does not own. */
  attach(fd: number): void {
    o.BIO_int_ctrl(this.bio, o.BIO_C_SET_FD, 0, fd)
  }
}

/** The staging buffers of one worker. */
export class StagingPool {
  readonly #all: Staging[] = []
  #clock = 0

  /** A buffer for `user`, taken from the one that has not written for longest; null when all are busy. */
  acquire(user: StagingUser): Staging | null {
    let oldest: Staging | null = null
    for (const staging of this.#all) {
      if (staging.user === null) return this.#give(staging, user)
      if (staging.user.isStagingBusy) continue
      if (oldest === null || staging.lastUse < oldest.lastUse) oldest = staging
    }
    if (this.#all.length < MAX_STAGING) {
      const staging = new Staging()
      this.#all.push(staging)
      return this.#give(staging, user)
    }
    if (oldest === null) return null
    oldest.user?.onStagingLost()
    return this.#give(oldest, user)
  }

  /** Marks the buffer as used now, so that it is not the first to be taken away. */
  touch(staging: Staging): void {
    staging.lastUse = ++this.#clock
  }

  /** Frees all buffers with nothing in them. */
  trim(): void {
    for (let index = this.#all.length - 1; index >= 0; index--) {
      const staging = this.#all[index]
      if (staging === undefined || staging.user?.isStagingBusy === true) continue
      staging.user?.onStagingLost()
      staging.free()
      this.#all.splice(index, 1)
    }
  }

  /** Frees the buffers when the worker ends, after its sockets. */
  free(): void {
    for (const staging of this.#all) staging.free()
    this.#all.length = 0
  }

  #give(staging: Staging, user: StagingUser): Staging {
    staging.user = user
    this.touch(staging)
    return staging
  }
}

const pools = new WeakMap<Reactor, StagingPool>()

/** The buffers of a reactor's sockets; freed with it. */
export function stagingPoolOf(reactor: Reactor): StagingPool {
  let pool = pools.get(reactor)
  if (pool === undefined) {
    const created = new StagingPool()
    reactor.atTrim(() => created.trim())
    reactor.atDestroy(() => created.free())
    pools.set(reactor, created)
    pool = created
  }
  return pool
}
