import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

type Network = [address: ipaddr.IPv6, bits: number]

/**
 * Parses TRUST_PROXY: a number of proxies (1 to 10), or comma-separated IP addresses and CIDR ranges. Does not
 * accept "all proxies". Otherwise every client could choose its own IP address.
 */
export function parseTrustedProxies(text: string): number | string[] | undefined {
  if (/^\d+$/.test(text)) return Number(text) >= 1 && Number(text) <= 10 ? Number(text) : undefined
  const ranges = text.split(',').map((range) => range.trim())
  return ranges.every(isRange) ? ranges : undefined
}

function isRange(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  if (isIP(address) === 0 || address.includes('%') || rest.length > 0) return false
  return bits === undefined || (/^[1-9]\d{0,2}$/.test(bits) && ipaddr.isValidCIDR(text))
}

// IPv4 inside IPv6, because Express compares addresses in this form, and the part of IPv6 that is in public use.
const publicSpaces = ['::ffff:0:0/96', '2000::/3'].map(networkOf)

/** Returns whether ranges cover half of the public IPv4 or IPv6 addresses. Ranges that overlap count twice. */
export function coverHalfOfAll(ranges: string[]): boolean {
  const networks = ranges.map(networkOf)
  return publicSpaces.some((space) => {
    const shares = networks.map((network) => shareOf(space, network))
    return shares.reduce((sum, share) => sum + share, 0) >= 0.5
  })
}

function networkOf(range: string): Network {
  const address = ipaddr.parse(range.split('/')[0] ?? '')
  const bits = Number(range.split('/')[1] ?? address.toByteArray().length * 8)
  return address instanceof ipaddr.IPv4
    ? [address.toIPv4MappedAddress(), bits + 96]
    : [address as ipaddr.IPv6, bits]
}

/** Returns the share of `space` that `network` covers, from 0 to 1. */
function shareOf([space, spaceBits]: Network, [address, bits]: Network): number {
  if (!address.match(space, Math.min(bits, spaceBits))) return 0
  return 2 ** Math.min(0, spaceBits - bits)
}
