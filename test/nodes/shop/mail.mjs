// SPDX-License-Identifier: Apache-2.0
// The server speaks first, as in SMTP; then it echoes.
import { createServer } from 'node:net'
import './end-late.mjs'

createServer((socket) => {
  socket.on('error', () => socket.destroy())
  socket.write('220 marker-of-mail\r\n')
  socket.pipe(socket)
}).listen(Number(process.env.PORT))
