/** A reader that takes nothing for this long is dropped, in milliseconds; it knows where to resume. */
const patienceMs = 30_000

/**
 * Chunks of text as the body of an answer. Holds one chunk at a time and makes the next only as the reader takes it.
 * `stop` is called once it is over, and when the reader leaves or is dropped: what `chunks` waits for then ends at once.
 */
export function eventStream(
  chunks: AsyncGenerator<string>,
  stop: () => void,
  readerPatienceMs = patienceMs,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder()
  let dropper: ReturnType<typeof setTimeout> | undefined
  async function leave() {
    clearTimeout(dropper)
    stop()
    await chunks.return(undefined)
  }
  return new ReadableStream({
    async pull(controller) {
      clearTimeout(dropper)
      const { done, value } = await chunks.next()
      if (done) {
        stop()
        return controller.close()
      }
      controller.enqueue(encoder.encode(value))
      dropper = setTimeout(() => {
        controller.error(new SlowReader())
        void leave()
      }, readerPatienceMs)
    },
    cancel: leave,
  })
}

/** The connection is cut; the server's adapter prints this, so it is one line. */
class SlowReader extends Error {
  constructor() {
    super('a reader of events took nothing for too long and was dropped')
    this.stack = this.message
  }
}
