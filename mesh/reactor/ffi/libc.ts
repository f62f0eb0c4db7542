// SPDX-License-Identifier: Apache-2.0
// Typed system calls of libc. A negative result means failure: read errno() in the very next statement.
// Pointers are numbers (native.ts); every call is synchronous and must not block unless its name says so.
import { bindAsyncFunction, bindFunction, openLibrary, type Pointer, viewOf } from './native.ts'

const libc = openLibrary('libc.so.6')
const bind2 = <F>(prototype: string): F => bindFunction<F>(libc, prototype)
type N = number

export const socket = bind2<(domain: N, type: N, protocol: N) => N>('int socket(int, int, int)')
export const bind = bind2<(fd: N, address: Pointer, bytes: N) => N>('int bind(int, uintptr_t, uint32_t)')
export const listen = bind2<(fd: N, backlog: N) => N>('int listen(int, int)')
export const accept4 = bind2<(fd: N, address: Pointer, bytes: Pointer, flags: N) => N>(
  'int accept4(int, uintptr_t, uintptr_t, int)',
)
export const connect = bind2<(fd: N, address: Pointer, bytes: N) => N>(
  'int connect(int, uintptr_t, uint32_t)',
)
export const shutdown = bind2<(fd: N, how: N) => N>('int shutdown(int, int)')
/** Calls the kernel by number with three arguments. */
export const syscall3 = bind2<(number: N, a: N, b: Pointer, c: N) => N>(
  'int64_t syscall(int64_t, int64_t, uintptr_t, uint64_t)',
)
/** Not node's: in a worker, node closes at the thread's end whatever number its own open() once returned. */
export const open = bind2<(path: string, flags: N) => N>('int open(const char*, int)')
export const close = bind2<(fd: N) => N>('int close(int)')
export const read = bind2<(fd: N, into: Pointer, bytes: N) => N>('int64_t read(int, uintptr_t, uint64_t)')
export const write = bind2<(fd: N, from: Pointer, bytes: N) => N>('int64_t write(int, uintptr_t, uint64_t)')
export const send = bind2<(fd: N, from: Pointer, bytes: N, flags: N) => N>(
  'int64_t send(int, uintptr_t, uint64_t, int)',
)
export const sendto = bind2<(fd: N, from: Pointer, bytes: N, flags: N, to: Pointer, toBytes: N) => N>(
  'int64_t sendto(int, uintptr_t, uint64_t, int, uintptr_t, uint32_t)',
)
export const recvfrom = bind2<
  (fd: N, into: Pointer, bytes: N, flags: N, from: Pointer, fromBytes: Pointer) => N
>('int64_t recvfrom(int, uintptr_t, uint64_t, int, uintptr_t, uintptr_t)')
export const sendmsg = bind2<(fd: N, message: Pointer, flags: N) => N>('int64_t sendmsg(int, uintptr_t, int)')
export const recvmsg = bind2<(fd: N, message: Pointer, flags: N) => N>('int64_t recvmsg(int, uintptr_t, int)')
export const setsockopt = bind2<(fd: N, level: N, name: N, value: Pointer, bytes: N) => N>(
  'int setsockopt(int, int, int, uintptr_t, uint32_t)',
)
export const getsockopt = bind2<(fd: N, level: N, name: N, value: Pointer, bytes: Pointer) => N>(
  'int getsockopt(int, int, int, uintptr_t, uintptr_t)',
)
export const getsockname = bind2<(fd: N, address: Pointer, bytes: Pointer) => N>(
  'int getsockname(int, uintptr_t, uintptr_t)',
)
export const getpeername = bind2<(fd: N, address: Pointer, bytes: Pointer) => N>(
  'int getpeername(int, uintptr_t, uintptr_t)',
)
export const fcntl = bind2<(fd: N, command: N, argument: N) => N>('int fcntl(int, int, long)')
export const epoll_create1 = bind2<(flags: N) => N>('int epoll_create1(int)')
export const epoll_ctl = bind2<(epoll: N, operation: N, fd: N, event: Pointer) => N>(
  'int epoll_ctl(int, int, int, uintptr_t)',
)
/** Blocks for at most `timeoutMs`. */
export const epoll_wait = bind2<(epoll: N, events: Pointer, most: N, timeoutMs: N) => N>(
  'int epoll_wait(int, uintptr_t, int, int)',
)
/** Waits on a thread of libuv's pool; wake it by an event of the set (an eventfd). */
export const epoll_wait_async = bindAsyncFunction<[epoll: N, events: Pointer, most: N, timeoutMs: N]>(
  libc,
  'int epoll_wait(int, uintptr_t, int, int)',
)
export const eventfd = bind2<(initial: N, flags: N) => N>('int eventfd(uint32_t, int)')
export const setns = bind2<(fd: N, type: N) => N>('int setns(int, int)')
export const unshare = bind2<(flags: N) => N>('int unshare(int)')
export const socketpair = bind2<(domain: N, type: N, protocol: N, pair: Pointer) => N>(
  'int socketpair(int, int, int, uintptr_t)',
)
export const pipe2 = bind2<(pair: Pointer, flags: N) => N>('int pipe2(uintptr_t, int)')
/** Offsets are null pointers (0) for sockets and pipes. A broken peer is EPIPE and SIGPIPE, which Node ignores. */
export const splice = bind2<
  (from: N, fromOffset: Pointer, to: N, toOffset: Pointer, bytes: N, flags: N) => N
>('int64_t splice(int, uintptr_t, int, uintptr_t, uint64_t, uint32_t)')
export const dup3 = bind2<(from: N, to: N, flags: N) => N>('int dup3(int, int, int)')
export const prctl = bind2<(option: N, a: N, b: N, c: N, d: N) => N>(
  'int prctl(int, uint64_t, uint64_t, uint64_t, uint64_t)',
)

const errnoCell = new Int32Array(viewOf(bind2<() => Pointer>('uintptr_t __errno_location()')(), 4))

/** errno of this thread's last failed call. */
export function errno(): number {
  return errnoCell[0] ?? 0
}

const strerror = bind2<(code: N) => string>('const char* strerror(int)')
/** Text of an errno value, for people. */
export function describeErrno(code: number): string {
  return strerror(code)
}

/** errno values by name (asm-generic/errno*.h, the same on x86-64 and arm64). */
export const E = {
  PERM: 1, NOENT: 2, INTR: 4, BADF: 9, AGAIN: 11, NOMEM: 12, ACCES: 13, EXIST: 17, INVAL: 22, NFILE: 23,
  MFILE: 24, PIPE: 32, MSGSIZE: 90, ADDRINUSE: 98, ADDRNOTAVAIL: 99, NETUNREACH: 101, CONNABORTED: 103,
  CONNRESET: 104, NOBUFS: 105, ISCONN: 106, NOTCONN: 107, TIMEDOUT: 110, CONNREFUSED: 111, HOSTUNREACH: 113,
  INPROGRESS: 115, PROTO: 71, NETDOWN: 100, OPNOTSUPP: 95,
} as const // biome-ignore format: a table

/** True for an errno of a write that says: no room now, the socket will say when it has. */
export function isFull(code: number): boolean {
  return code === E.AGAIN || code === E.INTR || code === E.NOBUFS
}
