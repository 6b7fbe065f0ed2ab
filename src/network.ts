import { isIP } from 'node:net'
import ipaddr, { type IPv6 } from 'ipaddr.js'

/** A network that requests are counted by. `shares`: how many single addresses it counts for. */
export interface Network {
  name: string
  shares: number
}

// An owner of IPv6 has a /64 at least, often a /56, and gets a /48 from some providers for nothing.
const widths = [
  { bits: 48, shares: 16 },
  { bits: 56, shares: 4 },
  { bits: 64, shares: 1 },
]

const longestAddress = 64

/**
 * Returns an address in its plain form, without port, brackets and zone; undefined if `text` is no address. An IPv4
 * address is returned as IPv4, also if IPv6 carries it: mapped (RFC 4291), translated (RFC 7915), or by NAT64's
 * well-known prefix (RFC 6052).
 */
export function plainAddress(text: string | undefined): string | undefined {
  if (text === undefined || text.length > longestAddress) return undefined
  const [, bare = text] = /^\[([^\]]+)\](?::\d+)?$/.exec(text) ?? /^([\d.]+):\d+$/.exec(text) ?? []
  const [address = ''] = bare.split('%')
  if (isIP(address) === 0) return undefined
  const parsed = ipaddr.process(address)
  return isIPv6(parsed) ? String(carriedIPv4(parsed) ?? parsed) : String(parsed)
}

/**
 * Returns the networks that an address in its plain form belongs to, the widest first. The IPv4 address that owns a
 * tunnel (6to4, Teredo) stands for the whole tunnel. Otherwise its owner would have two budgets.
 */
export function networksOf(address: string | undefined): Network[] {
  if (address === undefined) return [{ name: 'unknown', shares: 1 }]
  const parsed = ipaddr.parse(address)
  const owner = isIPv6(parsed) ? (tunnelOwner(parsed) ?? parsed) : parsed
  // The rest of `rfc6052` is RFC 8215: the operator's own translators, which give each IPv4 client one address.
  if (!isIPv6(owner) || owner.range() === 'rfc6052') return [{ name: String(owner), shares: 1 }]
  return widths.map(({ bits, shares }) => ({
    name: `${ipaddr.IPv6.networkAddressFromCIDR(`${owner}/${bits}`)}/${bits}`,
    shares,
  }))
}

const isIPv6 = (address: { kind(): string }): address is IPv6 => address.kind() === 'ipv6'

const nat64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96')

function carriedIPv4(address: IPv6) {
  const carries = address.range() === 'rfc6145' || address.match(nat64)
  return carries ? ipaddr.fromByteArray(address.toByteArray().slice(12)) : undefined
}

function tunnelOwner(address: IPv6) {
  const bytes = address.toByteArray()
  if (address.range() === '6to4') return ipaddr.fromByteArray(bytes.slice(2, 6))
  // RFC 4380 inverts the client's address.
  if (address.range() === 'teredo') return ipaddr.fromByteArray(bytes.slice(12).map((byte) => byte ^ 0xff))
  return undefined
}
