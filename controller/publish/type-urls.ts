// SPDX-License-Identifier: Apache-2.0
// The types of resources on the stream. SPEC XDS §1.4.
export const ADDRESS_TYPE = 'type.googleapis.com/istio.workload.Address'
export const AUTHORIZATION_TYPE = 'type.googleapis.com/istio.security.Authorization'
