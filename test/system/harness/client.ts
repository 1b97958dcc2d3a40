import {
  isFinal,
  type ExecutionRecord,
  type Page,
  type ExecutionSummary,
  type SubmissionBody,
} from '@errand/shared'
import { until } from './until.ts'

/** The API answered with an error; `status` and `code` say which. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly status: number
  readonly code: string | undefined

  constructor(status: number, body: string) {
    super(`${status} ${body}`)
    this.status = status
    this.code = /"code":\s*"([a-z_]+)"/.exec(body)?.[1]
  }
}

/** The REST API as a caller uses it. Errors throw `Refused`; a connection that fails throws what `fetch` throws. */
export class Client {
  readonly url: string
  readonly #key: string

  constructor(url: string, key: string) {
    this.url = url
    this.#key = key
  }

  async request(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    return fetch(this.url + path, {
      method,
      headers: {
        authorization: `Bearer ${this.#key}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
  }

  get<T>(path: string): Promise<T> {
    return this.#json('GET', path)
  }

  post<T>(path: string, body?: unknown, headers?: Record<string, string>): Promise<T> {
    return this.#json('POST', path, body, headers)
  }

  submit(body: SubmissionBody, headers?: Record<string, string>): Promise<ExecutionRecord> {
    return this.post('/executions', body, headers)
  }

  /** Submits until it is answered, as a careful caller does: an API or database that is away is waited for. */
  submitSurely(body: SubmissionBody, idempotencyKey: string): Promise<ExecutionRecord> {
    const ask = () => this.submit(body, { 'idempotency-key': idempotencyKey })
    return until(`submission ${idempotencyKey} is stored`, () => this.#whenThere(ask))
  }

  /** Submits, and returns the final record. */
  async run(body: SubmissionBody): Promise<ExecutionRecord> {
    const { id } = await this.submit(body, { prefer: 'wait=30' })
    return this.final(id)
  }

  execution(id: string): Promise<ExecutionRecord> {
    return this.get(`/executions/${id}`)
  }

  executions(query = ''): Promise<Page<ExecutionSummary>> {
    return this.get(`/executions${query}`)
  }

  cancel(id: string): Promise<ExecutionRecord> {
    return this.post(`/executions/${id}/cancel`)
  }

  /** The exact bytes. */
  async output(id: string, stream: 'stdout' | 'stderr'): Promise<Buffer> {
    const response = await this.request('GET', `/executions/${id}/${stream}`)
    if (!response.ok) throw new Refused(response.status, await response.text())
    return Buffer.from(await response.arrayBuffer())
  }

  /** The record once it is final. An API that is away meanwhile is waited for. */
  final(id: string, withinMs = 60_000): Promise<ExecutionRecord> {
    return until(
      `execution ${id} is final`,
      () =>
        this.#whenThere(async () => {
          // Without the output, which may be megabytes each time.
          const { status } = await this.get<{ status: ExecutionRecord['status'] }>(`/jobs/${id}`)
          return isFinal(status) ? this.execution(id) : undefined
        }),
      { withinMs },
    )
  }

  async status(id: string, status: ExecutionRecord['status'], withinMs = 60_000): Promise<ExecutionRecord> {
    return until(
      `execution ${id} is ${status}`,
      async () => {
        const record = await this.#whenThere(() => this.execution(id))
        return record?.status === status ? record : undefined
      },
      { withinMs },
    )
  }

  async #whenThere<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask()
    } catch (error) {
      const away = error instanceof TypeError || (error instanceof Refused && error.status >= 500)
      if (away) return undefined
      throw error
    }
  }

  async #json<T>(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<T> {
    const response = await this.request(method, path, body, headers)
    const text = await response.text()
    if (!response.ok) throw new Refused(response.status, text)
    return JSON.parse(text) as T
  }
}
