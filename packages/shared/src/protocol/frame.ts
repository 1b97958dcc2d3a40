/**
 * One WebSocket message. Without payload it is a text frame of JSON; with payload a binary frame:
 * the JSON's length in UTF-8 bytes (4 bytes, big endian), the JSON, the payload's bytes.
 */
export interface Frame {
  message: unknown
  payload: Uint8Array
}

const empty = new Uint8Array(0)
const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

export function encodeFrame(message: object, payload: Uint8Array = empty): string | Uint8Array<ArrayBuffer> {
  const json = JSON.stringify(message)
  if (payload.length === 0) return json
  const head = encoder.encode(json)
  const frame = new Uint8Array(4 + head.length + payload.length)
  new DataView(frame.buffer).setUint32(0, head.length)
  frame.set(head, 4)
  frame.set(payload, 4 + head.length)
  return frame
}

/** Throws `MalformedFrame` on anything that is not one whole frame. The payload is a view, not a copy. */
export function decodeFrame(data: string | Uint8Array): Frame {
  try {
    if (typeof data === 'string') return { message: JSON.parse(data), payload: empty }
    const length = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(0)
    if (4 + length > data.length) throw new MalformedFrame()
    return {
      message: JSON.parse(decoder.decode(data.subarray(4, 4 + length))),
      payload: data.subarray(4 + length),
    }
  } catch {
    throw new MalformedFrame()
  }
}

export class MalformedFrame extends Error {
  constructor() {
    super('malformed frame')
  }
}
