/**
 * What `box station` is asked, on an ssh target: it begins runs that outlive it, and passes on the journals of those
 * that were begun. A run has a directory of its own, absolute, which `begin` makes. After each of these the byte
 * `killMessage` may follow, until the frame `answered`.
 */

/** What it says before anything else; a login shell may have printed other things before that. */
export const stationGreeting = Buffer.from('errand box station\n')

/** Before a bundle; after `mostMs` the run ends whatever its phases allow. */
export function beginRequest(dir: string, mostMs: number): Buffer {
  return request('N', mostMs, dir)
}

/** `offset`: how many bytes of frames have come already. */
export function followRequest(dir: string, offset: number): Buffer {
  return request('F', offset, dir)
}

/** After an answer: removes the directory of that run, which is answered too. */
export const removeRequest = Buffer.from('D')

function request(letter: string, number: number, dir: string): Buffer {
  const head = Buffer.alloc(13)
  head.write(letter, 'latin1')
  head.writeBigUInt64LE(BigInt(Math.ceil(number)), 1)
  head.writeUInt32LE(Buffer.byteLength(dir), 9)
  return Buffer.concat([head, Buffer.from(dir)])
}
