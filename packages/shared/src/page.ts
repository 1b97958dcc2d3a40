/** A page of a list, newest first; `next_cursor` is opaque and null on the last page. */
export interface Page<T> {
  data: T[]
  next_cursor: string | null
  /** Only with `?count=true`. */
  total?: number
}
