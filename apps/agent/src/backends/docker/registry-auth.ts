import type { DockerExecutor, ImageReference } from '@errand/shared'

/** Credentials as the Engine takes them along with a pull. */
export interface RegistryAuth {
  username: string
  password: string
  serveraddress: string
}

/** For the registry of this image: newer Engines give them to no other. */
export function registryAuth(
  { domain }: ImageReference,
  given: NonNullable<DockerExecutor['registry_auth']>,
): RegistryAuth {
  return { ...given, serveraddress: domain === 'docker.io' ? dockerHub : domain }
}

/** What is said without them: a registry may repeat what it was sent. */
export function withoutAuth(text: string, { username, password }: RegistryAuth): string {
  const header = Buffer.from(`${username}:${password}`).toString('base64')
  return [header, header.replace(/=+$/, ''), password]
    .filter((secret) => secret !== '')
    .reduce((rest, secret) => rest.replaceAll(secret, '***'), text)
}

/** As the Engine has called it from its beginnings. */
const dockerHub = 'https://index.docker.io/v1/'
