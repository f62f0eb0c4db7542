// SPDX-License-Identifier: Apache-2.0
// Sets of ports that are a few ports, or all but a few. Plain data: they travel between processes.

/** `isAllBut` false: these ports; true: every port but these. Ports are in order, each once. */
export interface PortSet {
  readonly isAllBut: boolean
  readonly ports: readonly number[]
}

export const NO_PORTS: PortSet = { isAllBut: false, ports: [] }
export const ALL_PORTS: PortSet = { isAllBut: true, ports: [] }

/** These ports only. */
export function portsOf(ports: Iterable<number>): PortSet {
  return { isAllBut: false, ports: [...new Set(ports)].toSorted((a, b) => a - b) }
}

export function hasPort({ isAllBut, ports }: PortSet, port: number): boolean {
  return ports.includes(port) !== isAllBut
}

/** Every port that the set does not have. */
export function otherPorts({ isAllBut, ports }: PortSet): PortSet {
  return { isAllBut: !isAllBut, ports }
}

/** Ports of either set. */
export function unitePorts(left: PortSet, right: PortSet): PortSet {
  return otherPorts(intersectPorts(otherPorts(left), otherPorts(right)))
}

/** Ports of both sets. */
export function intersectPorts(left: PortSet, right: PortSet): PortSet {
  if (left.isAllBut && right.isAllBut) return otherPorts(portsOf([...left.ports, ...right.ports]))
  const [few, other] = left.isAllBut ? [right, left] : [left, right]
  const others = new Set(other.ports)
  return portsOf(few.ports.filter((port) => others.has(port) !== other.isAllBut))
}
