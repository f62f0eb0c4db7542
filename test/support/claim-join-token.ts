// SPDX-License-Identifier: Apache-2.0
// A replica that claims a join token when it is told to, and says whether it won. Arguments: directory, id, a key of its own.
import { openJoinTokenDirectory } from '../../controller/ca/join-token-directory.ts'

const [directory = '', id = '', key = ''] = process.argv.slice(2)
const store = openJoinTokenDirectory(directory)
process.once('message', () => {
  void store.claim(id, key).then((hasWon) => process.send?.(hasWon, () => process.disconnect()))
})
process.send?.('ready')
