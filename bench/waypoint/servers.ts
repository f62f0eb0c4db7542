// SPDX-License-Identifier: Apache-2.0
// The servers behind both waypoints: nginx for HTTP/1.1, nghttpd for gRPC's calls.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { GRPC, pathOf } from './cases.ts'
import { GRPC_PORT, WEB_PORT } from './waypoint-objects.ts'

export const BIG_BYTES = 1_000_000

/** A message of three bytes behind gRPC's prefix. */
export const GRPC_MESSAGE: Uint8Array = Buffer.from([0, 0, 0, 0, 3, 0x61, 0x62, 0x63])

/** Writes the message that calls are answered with; the command of a server that adds a trailer, as one of gRPC does. */
export async function writeGrpcServer(directory: string): Promise<readonly string[]> {
  const path = join(directory, 'calls', pathOf(GRPC, 'small'))
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, GRPC_MESSAGE)
  // Not its echo, which writes each body to a file: both waypoints would wait for the disk.
  const options = ['--no-tls', '-d', join(directory, 'calls'), '--trailer', 'grpc-status: 0']
  return ['nghttpd', ...options, String(GRPC_PORT)]
}

/** Writes what nginx needs; its command. */
export async function writeWebServer(directory: string): Promise<readonly string[]> {
  const path = join(directory, 'nginx.conf')
  await writeFile(join(directory, 'big'), Buffer.alloc(BIG_BYTES))
  await writeFile(path, nginxConfig(directory))
  return ['nginx', '-p', directory, '-c', path]
}

/** Nothing is logged; connections live until the waypoint closes them. */
function nginxConfig(directory: string): string {
  const bodies = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `worker_processes 1; daemon off; pid ${directory}/nginx.pid; error_log ${directory}/nginx.log;
user root; events { worker_connections 1024; }
http {
  access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 1h;
  ${bodies.map((name) => `${name}_temp_path ${directory}/${name};`).join(' ')}
  server {
    listen ${WEB_PORT} backlog=4096;
    location / { return 200 "hello\\n"; }
    location ~ /big$ { root /; try_files ${directory}/big =404; }
  }
}
`
}
