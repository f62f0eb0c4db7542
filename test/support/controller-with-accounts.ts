// SPDX-License-Identifier: Apache-2.0
// The controller with an apiserver of the test's making: service accounts are those of a file. For clients that show
// tokens of Kubernetes where there is none; everything else is the product's.
// usage: node controller-with-accounts.ts ACCOUNTS_FILE [options of the controller]
import { readFileSync } from 'node:fs'
import { App } from '../../controller/app.ts'
import { tokenReviewAttestor } from '../../controller/ca/token-review.ts'
import { readConfig } from '../../controller/config.ts'
import { DirectorySource } from '../../controller/watch/directory.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { openLog } from '../../mesh/runtime/log.ts'

/** A pod with the token that was made for it. */
export interface TestAccount {
  readonly token: string
  readonly namespace: string
  readonly pod: string
  readonly serviceAccount: string
  readonly node: string
}

if (import.meta.main) {
  const [accountsFile = '', ...args] = process.argv.slice(2)
  const accounts = JSON.parse(readFileSync(accountsFile, 'utf8')) as readonly TestAccount[] // as: the test's own
  const { options, mistakes } = readConfig(args)
  if (mistakes.length > 0) throw new Error(mistakes.join('\n'))
  const uidOf = ({ namespace, pod }: TestAccount): string => `uid-${namespace}-${pod}`
  const attestor = tokenReviewAttestor({
    kubernetes: {
      reviewToken: async (token, audience) => {
        const account = accounts.find((each) => each.token === token)
        return {
          authenticated: account !== undefined,
          username: `system:serviceaccount:${account?.namespace}:${account?.serviceAccount}`,
          audiences: [audience],
          extra:
            account === undefined
              ? {}
              : {
                  'authentication.kubernetes.io/pod-name': [account.pod],
                  'authentication.kubernetes.io/pod-uid': [uidOf(account)],
                },
        }
      },
      findPod: (namespace, name) => {
        const account = accounts.find((each) => each.namespace === namespace && each.pod === name)
        return account && { uid: uidOf(account), node: account.node, serviceAccount: account.serviceAccount }
      },
      hasPodOn: (node, namespace, serviceAccount) =>
        accounts.some(
          (each) =>
            each.node === node && each.namespace === namespace && each.serviceAccount === serviceAccount,
        ),
    },
    trustDomain: options.trustDomain,
    clock: systemClock,
    nodeAccounts: [],
  })
  const app = new App({
    config: options,
    source: new DirectorySource(options.configDirectory, systemClock),
    attestors: () => [attestor],
    clock: systemClock,
    log: openLog('info', { component: 'controller' }),
  })
  await app.start()
}
