// SPDX-License-Identifier: Apache-2.0
// The log levels, apart from the log itself: option tables need the names without loading pino.

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]
