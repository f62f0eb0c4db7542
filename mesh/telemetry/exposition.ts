// SPDX-License-Identifier: Apache-2.0
// Families of metrics as OpenMetrics text. SPEC OpenMetrics 1.0 §4. A family without samples is left out.

/** `name` is the family's: samples of a counter end in `_total`, those of a histogram in `_bucket`, `_count`, `_sum`. */
export function family(
  name: string,
  type: 'counter' | 'gauge' | 'histogram',
  help: string,
  samples: readonly string[],
): string {
  if (samples.length === 0) return ''
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${samples.join('\n')}\n`
}

export function gauge(name: string, help: string, value: number | string): string {
  return family(name, 'gauge', help, [`${name} ${value}`])
}

export function counter(name: string, help: string, value: number): string {
  return family(name, 'counter', help, [`${name}_total ${value}`])
}

/** The upper bound of a bucket. SPEC OpenMetrics 1.0 §5.8: written as a float, the last one as +Inf. */
export function boundText(bound: number): string {
  if (bound === Number.POSITIVE_INFINITY) return '+Inf'
  return Number.isInteger(bound) ? `${bound}.0` : String(bound)
}
