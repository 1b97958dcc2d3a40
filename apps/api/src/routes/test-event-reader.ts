import type { TestApp } from './test-app.ts'

export interface ServerSentEvent {
  event: string
  id: string
  data: unknown
}

/** Reads server-sent events until `enough`, then leaves. */
export async function readEvents(
  test: TestApp,
  path: string,
  given: { enough?: (events: ServerSentEvent[]) => boolean; lastEventId?: string | undefined } = {},
): Promise<{ answer: Response; events: ServerSentEvent[]; text: string }> {
  const { enough = () => false, lastEventId } = given
  const answer = await test.request('GET', path, {
    headers: {
      accept: 'text/event-stream',
      ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
    },
  })
  const events: ServerSentEvent[] = []
  let text = ''
  let rest = ''
  for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk
    const blocks = (rest + chunk).split('\n\n')
    rest = blocks.pop()!
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s).slice(0, 2)))
      if (fields['event'])
        events.push({ ...fields, data: JSON.parse(String(fields['data'])) } as ServerSentEvent)
    }
    if (enough(events)) break
  }
  return { answer, events, text }
}

export const isEnd = (events: ServerSentEvent[]): boolean => events.at(-1)?.event === 'end'
