// SPDX-License-Identifier: Apache-2.0
// What a route of the admin API is, and its two kinds of answers.
import type { App } from './app.ts'

/** One answer. */
export interface AdminAnswer {
  readonly status: number
  readonly type: 'text/plain' | 'application/json'
  readonly body: string
}

/** One route. */
export interface AdminRoute {
  readonly method: 'GET' | 'POST'
  readonly answer: (app: App, query: URLSearchParams) => AdminAnswer | Promise<AdminAnswer>
}

/** Routes by path. */
export type AdminRoutes = Readonly<Record<string, AdminRoute>>

export const text = (status: number, body: string): AdminAnswer => ({ status, type: 'text/plain', body })

export const json = (value: unknown): AdminAnswer => ({
  status: 200,
  type: 'application/json',
  body: `${JSON.stringify(value, null, 2)}\n`,
})
