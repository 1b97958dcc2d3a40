/** The REST API of the server that `npm start` runs, with the admin key. */
export class Rest {
  readonly url: string
  readonly #key: string

  constructor(url: string, key: string) {
    this.url = url
    this.#key = key
  }

  /** The answer's JSON; undefined where it is 404. @throws for any other error of the API */
  async get<T>(path: string): Promise<T | undefined> {
    return this.#ask('GET', path)
  }

  async post<T>(path: string, body: unknown, headers: Record<string, string> = {}): Promise<T> {
    const answer = await this.#ask<T>('POST', path, body, headers)
    if (answer === undefined) throw new Error(`POST ${path}: not found`)
    return answer
  }

  async #ask<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<T | undefined> {
    const response = await fetch(new URL(path, this.url), {
      method,
      headers: { authorization: `Bearer ${this.#key}`, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    if (response.status === 404) return undefined
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as T
  }
}
