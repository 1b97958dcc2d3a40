export * from './binary.ts'
export * from './bundle.ts'
export * from './frames.ts'
export * from './station.ts'
