import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { runTool } from './run-tool.ts'

/** What a registry stores: bytes under their digest, and what they are. */
export interface Blob {
  mediaType: string
  digest: string
  bytes: Buffer
}

export interface RandomImage {
  manifest: Blob
  /** Its configuration and its layers. */
  blobs: Blob[]
}

/** An image whose layers have one file each, of so many bytes that nothing makes smaller and no other image has. */
export async function randomImage(layerBytes: readonly number[]): Promise<RandomImage> {
  const tars = await Promise.all(layerBytes.map(randomTar))
  const layers = tars.map((tar) => blobOf('image.rootfs.diff.tar.gzip', gzipSync(tar, { level: 1 })))
  const config = jsonBlob('container.image.v1+json', {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: tars.map(digestOf) },
  })
  const type = 'distribution.manifest.v2+json'
  const manifest = jsonBlob(type, {
    schemaVersion: 2,
    mediaType: mediaType(type),
    config: descriptorOf(config),
    layers: layers.map(descriptorOf),
  })
  return { manifest, blobs: [config, ...layers] }
}

async function randomTar(bytes: number, index: number): Promise<Buffer> {
  const dir = mkdtempSync(join(tmpdir(), 'errand-layer-'))
  try {
    const name = `layer-${index}`
    writeFileSync(join(dir, name), randomBytes(bytes))
    await runTool('tar', ['--create', '--directory', dir, '--file', join(dir, 'tar'), name])
    return readFileSync(join(dir, 'tar'))
  } finally {
    rmSync(dir, { recursive: true })
  }
}

function jsonBlob(type: string, content: object): Blob {
  return blobOf(type, Buffer.from(JSON.stringify(content)))
}

function blobOf(type: string, bytes: Buffer): Blob {
  return { mediaType: mediaType(type), digest: digestOf(bytes), bytes }
}

function descriptorOf({ mediaType: type, digest, bytes }: Blob): object {
  return { mediaType: type, digest, size: bytes.length }
}

function mediaType(type: string): string {
  return `application/vnd.docker.${type}`
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
