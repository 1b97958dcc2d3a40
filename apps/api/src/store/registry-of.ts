/** The registry that an image name means: its first part when that looks like a host, else Docker's own. */
export function registryOf(image: string): string {
  const [first, ...rest] = image.split('/')
  const isHost = rest.length > 0 && (/[.:]/.test(first!) || first === 'localhost')
  return isHost ? first! : 'docker.io'
}
