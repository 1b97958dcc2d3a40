import type { Bundle, Frame } from '@errand/box'

/** The way to one box that waits for its bundle, wherever it is. */
export interface BoxConnection {
  /** To be called once, before anything is sent. */
  listen(listener: BoxListener): void
  send(bytes: Uint8Array): void
  /** In place of a bundle that an agent which died had sent: all that its box says is told, from its first word. */
  follow?(): void
  /** Writes a bundle as it is read there; absent: as a box reads it. */
  encode?(bundle: Bundle): Uint8Array
  /**
   * Sees to it by other means (the Engine, another channel): called when the box has not answered a kill in a second.
   * Then `closed`, if nothing else comes.
   */
  kill(): void
}

export interface BoxListener {
  frame(frame: Frame): void
  /** Nothing more comes, and why is being asked: from here on neither time limit nor cancel count. Not always called. */
  ending(): void
  /** Nothing more comes; the reason is thrown where the box had not come to its end. */
  closed(reason: Error): void
}

/** The box itself could not do its work; nothing of this is the program's doing. */
export class BoxFailed extends Error {
  override readonly name = 'BoxFailed'
  readonly stage: string
  readonly errno: number

  constructor(stage: string, reason: string, errno: number) {
    super(`${stage}: ${reason}`)
    this.stage = stage
    this.errno = errno
  }
}
