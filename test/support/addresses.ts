/** Clients at addresses of their own, for servers to which this machine is a trusted proxy. */
import type { Server } from './server.ts'

export const BEHIND_PROXY = { AUTH_TRUST_PROXY: '127.0.0.1' }

let addresses = 0

/** The same server, as it is seen from there. */
export function from(address: string, server: Server): Server {
  const call: Server['call'] = (method, path, options = {}) =>
    server.call(method, path, { ...options, headers: { 'x-forwarded-for': address, ...options.headers } })
  return { ...server, call }
}

/** One of the range for benchmarks (RFC 2544) that nobody in this process has used yet. */
export function newAddress(): string {
  addresses++
  return `198.18.${addresses >> 8}.${addresses & 255}`
}

/** One in an IPv6 network of 48 bits that nobody in this process has used yet, in the given one of its /64. */
export function newWideNetwork(): (network: number) => string {
  const wide = (++addresses).toString(16)
  return (network) => `2001:db8:${wide}:${network.toString(16)}::1`
}
