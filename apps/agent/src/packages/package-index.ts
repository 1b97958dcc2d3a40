/** Where packages come from: an index (Python's simple index, npm's registry) or a folder of this host. */
export interface PackageIndex {
  kind: 'python' | 'node'
  url?: string
  dir?: string
  /** For `url`. It is shown to the index alone. */
  auth?: { username: string; password: string }
}
