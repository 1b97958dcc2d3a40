import { expect, it } from 'vitest'
import { EngineFault } from './engine-fault.ts'
import { registryRefusal } from './registry-refusal.ts'

// What Docker 20.10 with Debian's docker-registry says, but where another is named.
it.each<[ReturnType<typeof registryRefusal>, number | undefined, string]>([
  ['absent', 404, 'manifest for 127.0.0.1:5000/a:7 not found: manifest unknown: manifest unknown'],
  [
    'absent',
    404,
    "pull access denied for a, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
  ],
  ['absent', 400, 'invalid reference format: repository name must be lowercase'],
  ['absent', 500, 'name unknown'],
  ['credentials', 500, 'Head "http://127.0.0.1:5000/v2/a/manifests/1": no basic auth credentials'],
  ['credentials', 500, 'Head "https://a/v2/b/manifests/1": unauthorized: incorrect username or password'],
  ['credentials', 500, 'denied'],
  [
    'credentials',
    undefined,
    'error pulling image configuration: download failed after attempts=1: denied: requested access to the resource is denied',
  ],
  [
    'credentials',
    500,
    'errors: denied: requested access to the resource is denied unauthorized: authentication required',
  ],
  // 29 with containerd's store
  ['credentials', 401, 'error from registry: authentication required'],
  ['credentials', 403, 'error from registry: requested access to the resource is denied'],
  [
    'credentials',
    500,
    'failed to resolve reference "a:1": unexpected status from HEAD request to http://a/v2/a/manifests/1: 401 Unauthorized',
  ],
  [
    'no room',
    undefined,
    'failed to register layer: Error processing tar file(exit status 1): write /layer-0: no space left on device',
  ],
  [undefined, 500, 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'],
  [undefined, 500, 'received unexpected HTTP status: 503 Service Unavailable'],
  [undefined, 500, 'toomanyrequests: You have reached your pull rate limit'],
  [undefined, undefined, 'unexpected EOF'],
  [undefined, 503, ''],
  // A registry's own text is not read.
  [undefined, 500, 'toomanyrequests: denied: unauthorized'],
  [undefined, 500, 'received unexpected HTTP status: 500 denied'],
  [undefined, 500, 'image config verification failed for digest sha256:0 (manifest unknown)'],
])('%s: %s %s', (refusal, status, said) => {
  expect(registryRefusal(new EngineFault('answered', `it did not: ${said}`, status, { said }))).toBe(refusal)
})

it('takes none of our own faults for a refusal', () => {
  expect(registryRefusal(new EngineFault('silent', 'did not answer: denied: unauthorized'))).toBeUndefined()
})
