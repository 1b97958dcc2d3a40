/** The checksum that POSIX's `cksum` prints. */
export function cksum(bytes: Uint8Array): number {
  let sum = 0
  const add = (byte: number): void => {
    sum = ((sum << 8) ^ table[((sum >>> 24) ^ byte) & 0xff]!) >>> 0
  }
  for (const byte of bytes) add(byte)
  for (let left = bytes.length; left > 0; left = Math.floor(left / 256)) add(left % 256)
  return ~sum >>> 0
}

const table = Uint32Array.from({ length: 256 }, (_, index) => {
  let sum = index << 24
  for (let bit = 0; bit < 8; bit++) sum = sum & 0x80000000 ? (sum << 1) ^ 0x04c11db7 : sum << 1
  return sum
})
