// SPDX-License-Identifier: Apache-2.0
// Where Redis is, as an option says it. A password in it is refused: options are seen by everybody on the machine.

/** One server. */
export interface RedisAddress {
  readonly host: string
  readonly port: number
  readonly isTls: boolean
}

const DEFAULT_PORT = 6379

/** `redis://a:6379,rediss://b` → each server, or what is wrong with the text. */
export function parseRedisAddresses(text: string): readonly RedisAddress[] | string {
  const addresses: RedisAddress[] = []
  for (const part of text.split(',').map((each) => each.trim())) {
    const url = URL.parse(part)
    if (url === null || (url.protocol !== 'redis:' && url.protocol !== 'rediss:') || url.hostname === '')
      return `must be redis://host:port or rediss://host:port, separated by commas`
    if (url.username !== '' || url.password !== '')
      return 'holds a user or a password: they have options of their own'
    if (!['', '/', '/0'].includes(url.pathname) || url.search !== '' || url.hash !== '')
      return 'ends with the port: only database 0 is used'
    const host = url.hostname.replace(/^\[|\]$/g, '')
    const port = url.port === '' ? DEFAULT_PORT : Number(url.port)
    addresses.push({ host, port, isTls: url.protocol === 'rediss:' })
  }
  return addresses
}
