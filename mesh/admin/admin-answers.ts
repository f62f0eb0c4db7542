// SPDX-License-Identifier: Apache-2.0
// What a route of the admin API is, and its two kinds of answers.

/** One answer. */
export interface AdminAnswer {
  readonly status: number
  readonly type: 'text/plain' | 'application/json'
  readonly body: string
}

/** An answer that goes on until its reader leaves. */
export interface AdminStream {
  readonly type: 'application/x-ndjson' | 'application/x-pcapng'
  /** Begins; returns what ends it, which is called once. */
  readonly open: (sink: AdminSink) => () => void
}

/** Where a stream goes: never blocks, so whoever writes looks at what is unread. */
export interface AdminSink {
  write(bytes: string | Uint8Array): void
  /** Written and not yet taken by the reader. */
  readonly unreadBytes: number
  /** Ends the stream after what was written. */
  end(): void
}

/** One route; `App` is what is asked. */
export interface AdminRoute<App> {
  readonly method: 'GET' | 'POST'
  readonly answer: (app: App, query: URLSearchParams) => AdminAnswer | AdminStream | Promise<AdminAnswer>
}

/** Routes by path. */
export type AdminRoutes<App> = Readonly<Record<string, AdminRoute<App>>>

export const text = (status: number, body: string): AdminAnswer => ({ status, type: 'text/plain', body })

export const json = (value: unknown): AdminAnswer => ({
  status: 200,
  type: 'application/json',
  body: `${JSON.stringify(value, null, 2)}\n`,
})
