import type { ExecutionEvents } from '@errand/shared'
import type { Client } from './client.ts'

type EventOf<Events> = {
  [Name in keyof Events]: { name: Name; id: string; data: Events[Name] }
}[keyof Events]

/** One server-sent event of an execution. */
export type ServerEvent = EventOf<ExecutionEvents>

/**
 * The events of an execution, as a browser gets them: until the server ends the stream. Leaving the loop closes the
 * connection; `lastEventId` goes on from there.
 */
export function readEvents(client: Client, id: string, lastEventId?: string): AsyncGenerator<ServerEvent> {
  return readEventStream<ExecutionEvents>(
    client,
    `/executions/${id}/events`,
    lastEventId === undefined ? {} : { 'last-event-id': lastEventId },
  )
}

/** The same of any stream. */
export async function* readEventStream<Events>(
  client: Client,
  path: string,
  headers: Record<string, string>,
): AsyncGenerator<EventOf<Events>> {
  const response = await client.request('GET', path, undefined, headers)
  if (response.status === 204) return
  if (!response.ok || !response.body) throw new Error(`events: ${response.status} ${await response.text()}`)
  let text = ''
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (text + piece).split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const fields = new Map(block.split('\n').map((line) => line.split(/: ?(.*)/s, 2) as [string, string]))
      const name = fields.get('event')
      if (name === undefined) continue
      yield { name, id: fields.get('id'), data: JSON.parse(fields.get('data') ?? '') } as EventOf<Events>
    }
  }
}

/**
 * Follows an execution to its end over any number of connections, as a browser does that resumes by `Last-Event-ID`.
 *
 * @param breakAfter a connection is closed by this reader after so many events; never when absent
 */
export async function* followEvents(
  client: Client,
  id: string,
  { breakAfter = Infinity } = {},
): AsyncGenerator<ServerEvent> {
  let last: string | undefined
  for (;;) {
    let count = 0
    for await (const event of readEvents(client, id, last)) {
      last = event.id
      yield event
      if (event.name === 'end') return
      if (++count === breakAfter) break
    }
  }
}
