/** An address below the API's, keeping a path prefix that a proxy may add. */
export function apiAddress(base: string, path: string): URL {
  return new URL(path, base.endsWith('/') ? base : `${base}/`)
}
