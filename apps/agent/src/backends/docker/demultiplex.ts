/** The stream of an attached container is no multiplexed one. */
export class BrokenStream extends Error {
  override readonly name = 'BrokenStream'
}

/**
 * Takes both streams of an attached container apart, however they are cut: each piece has a head of 8 bytes, of which the
 * first is the stream and the last four the length. Pieces are handed on as they come: dockerode's own `demuxStream`
 * copies what is left once for each piece and calls itself, so that thousands of small writes take the agent's time
 * and, in one chunk, its stack.
 */
export function demultiplexer(onStdout: (bytes: Buffer) => void, onStderr: (bytes: Buffer) => void) {
  const head = Buffer.alloc(8)
  let headBytes = 0
  let left = 0
  return (chunk: Buffer): void => {
    for (let rest = chunk; rest.length > 0;) {
      if (left === 0) {
        const taken = rest.copy(head, headBytes, 0, head.length - headBytes)
        headBytes += taken
        rest = rest.subarray(taken)
        if (headBytes < head.length) return
        if (head[0] !== 1 && head[0] !== 2)
          throw new BrokenStream(`a piece of stream ${head[0]} in what a container says`)
        headBytes = 0
        left = head.readUInt32BE(4)
        continue
      }
      const piece = rest.subarray(0, left)
      left -= piece.length
      rest = rest.subarray(piece.length)
      if (head[0] === 1) onStdout(piece)
      else onStderr(piece)
    }
  }
}
