/** Who sent a request: the address, through proxies that are trusted, and the request's id. */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import ipaddr from 'ipaddr.js'
import type { Client } from '../models/types.ts'
import { tell } from './events.ts'

const USER_AGENT_MAX_CHARACTERS = 512
/**
 * An address as proxies write it: with or without a port (an IPv6 address then in brackets), with or without quotes.
 */
const ADDRESS_FORM = /^"?(?:\[(?<bracketed>[^\]]+)\]|(?<dotted>[\d.]+))(?::\d+)?"?$/
const REQUEST_ID_FORM = /^[\w.-]{1,64}$/

/**
 * @param proxies addresses or CIDR ranges
 * @returns whether an address, with or without a port, is one of them
 */
export function createProxyTrust(proxies: string[]): (address: string | undefined) => boolean {
  const trusted = new BlockList()
  for (const proxy of proxies) {
    const [address = '', bits] = proxy.split('/')
    if (isIP(address) === 6) trusted.addSubnet(address, Number(bits ?? 128), 'ipv6')
    else trusted.addSubnet(address, Number(bits ?? 32), 'ipv4')
  }
  return (text) => {
    const address = readAddress(text)
    return address !== undefined && trusted.check(address.toString(), address.kind())
  }
}

/** @returns what names a request in the log and in its answer: what a trusted proxy calls it, or else a UUID */
export function requestIdOf(request: IncomingMessage, isTrusted: (address: string | undefined) => boolean): string {
  const { 'x-request-id': given = '' } = request.headers
  const isTaken = REQUEST_ID_FORM.test(String(given)) && isTrusted(request.socket.remoteAddress)
  return isTaken ? String(given) : randomUUID()
}

/** The socket's peer, or whom a trusted proxy names. */
export function clientOf(request: FastifyRequest): Client {
  const address = readAddress(request.ip) ?? readAddress(request.socket.remoteAddress) ?? ipaddr.IPv4.parse('0.0.0.0')
  const client: Client = {
    ip: address.toString(),
    network: networkOf(address, 64),
    wideNetwork: networkOf(address, 48),
    userAgent: request.headers['user-agent']?.slice(0, USER_AGENT_MAX_CHARACTERS),
    isGone: () => request.socket.destroyed,
    tell: (event, details) => tell(request, event, client, details),
  }
  return client
}

/** @returns undefined when there is none in the text; an IPv4 address mapped into IPv6 as that IPv4 address */
function readAddress(text = ''): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  const { bracketed, dotted } = ADDRESS_FORM.exec(text)?.groups ?? {}
  const bare = (bracketed ?? dotted ?? text).split('%')[0] as string
  return isIP(bare) ? ipaddr.process(bare) : undefined
}

/** An IPv4 address stands for itself. */
function networkOf(address: ipaddr.IPv4 | ipaddr.IPv6, ipv6Bits: number): string {
  if (address instanceof ipaddr.IPv4) return address.toString()
  return `${ipaddr.IPv6.networkAddressFromCIDR(`${address}/${ipv6Bits}`)}/${ipv6Bits}`
}
