/** A WebSocket to an agent as the session sees it; the Node adapter makes it of `ws`. */
export interface AgentSocket {
  send(frame: string | Uint8Array<ArrayBuffer>): void
  /** Closes politely; the adapter ends it by force when the other side does not answer. */
  close(code: number, reason: string): void
  /** Stops and goes on reading, so that a store that is slow or away slows the agent instead of growing the heap. */
  pause(): void
  resume(): void
  /** Bytes that wait to be sent. */
  readonly bufferedAmount: number
}

/** What the adapter tells the session. */
export interface SocketEvents {
  message(data: string | Uint8Array): void
  closed(): void
}
